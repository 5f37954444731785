from __future__ import annotations

from tests.support.mesh import MeshHandle

CALL = """
import socket
s = socket.create_connection(("echo", 80), 10)
f = s.makefile("rb")
print(f.readline().decode().strip())
s.sendall(b"hello\\n")
print(f.readline().decode().strip())
"""
SAMPLE = "tcp"


def test_sample(mesh: MeshHandle) -> None:
    for _ in range(5):
        done = mesh.run("client", "/usr/bin/python3", "-c", CALL, namespace="tcp")
        assert done.stdout.split() == ["v2", "hello"]
