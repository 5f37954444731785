"""A connection that a pod holds, and asks again and again."""

from __future__ import annotations

import subprocess

from tests.support.mesh import MeshHandle

#: Holds a connection to a greeter; for each line of input, whether it still answers.
HOLD = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
s.recv(100)
print("up", flush=True)
for _ in sys.stdin:
    try:
        s.sendall(b"x")
        print("answered" if s.recv(1) else "closed", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


class Held:
    """A connection that a pod holds."""

    def __init__(
        self, mesh: MeshHandle, client: str, space: str, host: str, port: int = 80
    ) -> None:
        argv = ["/usr/bin/python3", "-c", HOLD, host, str(port)]
        self.process = subprocess.Popen(
            mesh.argv(mesh.pod(client, space), argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.line() == "up"

    def line(self) -> str:
        """What the program says next."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def alive(self) -> bool:
        """Whether the connection still answers."""
        assert self.process.stdin
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return self.line() == "answered"

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
