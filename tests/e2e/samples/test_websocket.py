from __future__ import annotations

from tests.support.mesh import MeshHandle

CALL = """
import os, socket
s = socket.create_connection(("echo", 80), 10)
s.sendall(b"GET / HTTP/1.1\\r\\nhost: echo\\r\\nupgrade: websocket\\r\\n"
    b"connection: upgrade\\r\\nsec-websocket-version: 13\\r\\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n")
f = s.makefile("rb")
print(f.readline().split()[1].decode())
while f.readline().strip():
    pass
s.sendall(bytes([0x81, 0x85, 0, 0, 0, 0]) + b"hello")
print(f.read(7)[2:].decode())
"""
SAMPLE = "websocket"


def test_sample(mesh: MeshHandle) -> None:
    done = mesh.run("client", "/usr/bin/python3", "-c", CALL, namespace="websocket")
    assert done.stdout.split() == ["101", "hello"]
