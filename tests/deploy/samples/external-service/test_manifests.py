"""The mesh that the sample makes."""

from __future__ import annotations

from pathlib import Path

import deploy
from proto import workload_pb2 as pb
from tests.deploy.standalone.control.helpers import Mesh

FOLDER = Path(deploy.__file__).parent / "samples" / "external-service"


def test_two_servers_outside_stand_behind_the_name() -> None:
    mesh = Mesh(*(path.read_text() for path in sorted(FOLDER.glob("*.yaml"))))
    mesh.report()
    assert mesh.messages() == []
    behind = [
        workload
        for workload in mesh.workloads().values()
        if "external/books.example" in workload.services
    ]
    assert [workload.tunnel_protocol for workload in behind] == [pb.TunnelProtocol.NONE] * 2
    (port,) = behind[0].services["external/books.example"].ports
    assert (port.service_port, port.target_port) == (80, 8000)
    assert mesh.address("external/books.example").service.addresses
