"""The cgroup of health probes: its connections pass where others are refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpf.layout import FlowFlag
from bpf.links import attach, release
from bpf.sources import PROGRAMS
from tests.bpf.engine import Engine, eventually, removed
from tests.bpf.policies import chunk, guard, refuse
from tests.support.netns import Netns

#: Connects, says so, and closes when it is told to.
PROBE = """
import os, socket, sys
with open(sys.argv[1] + "/cgroup.procs", "w") as procs:
    procs.write(str(os.getpid()))
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
with socket.socket(family) as s:
    print(s.connect_ex((sys.argv[2], 8080)), flush=True)
    sys.stdin.readline()
print("closed", flush=True)
"""


@pytest.fixture
def probes(mesh: Engine) -> Iterator[Path]:
    """A cgroup that the program is attached to."""
    cgroup = mesh.place.cgroup.parent / f"{mesh.place.cgroup.name}-probes"
    cgroup.mkdir()
    link = mesh.place.pin_dir / "links" / "probes"
    target = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    probes = next(program for program in PROGRAMS if program.name == "probes")
    attach(mesh.place.pin_dir, [(link, probes)], target)
    os.close(target)
    yield cgroup
    release(link)
    eventually(lambda: removed(cgroup))


def probe(client: Netns, cgroup: Path, address: str) -> subprocess.Popen[str]:
    return client.popen([sys.executable, "-c", PROBE, str(cgroup), address])


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("refusing", ["policy", "guard"])
def test_probes_pass_and_nobody_else(
    mesh: Engine, client: Netns, server: Netns, probes: Path, family: int, refusing: str
) -> None:
    mesh.enroll(server)
    if refusing == "policy":
        guard(mesh, server, chunk(deny=(0,)))
    else:
        refuse(mesh, server)
    address = server.address(family)
    with server.listen(address, 8080), client.open_socket(family) as s:
        with pytest.raises(ConnectionRefusedError):
            s.connect((address, 8080))
        with probe(client, probes, address) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == "0\n"
            ((_, flow),) = mesh.maps.flows.items()
            assert (flow.source, flow.identity, flow.flags) == (0, 0, FlowFlag.PROBE)
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "closed\n"
        eventually(lambda: list(mesh.maps.flows.items()) == [])
