from __future__ import annotations

import sys

from tests.support.mesh import MeshHandle

CALL = """
import grpc
channel = grpc.insecure_channel("echo.grpc.svc.cluster.local:80")
print(channel.unary_unary("/shop.Echo/Say")(b"", timeout=10).decode())
"""
SAMPLE = "grpc"


def test_sample(mesh: MeshHandle) -> None:
    done = mesh.run("client", sys.executable, "-c", CALL, namespace="grpc")
    assert done.stdout.split() == ["v2"]
