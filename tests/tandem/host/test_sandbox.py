"""What filters' code can't do, tried in a real process."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tandem.host.frames import FrameReader, encode
from tandem.host.program import command

PROBES = """
import os, resource, socket, threading
from tandem.plugins import Filter
class Probe(Filter):
    def on_request(self, request):
        for name, code in self.config.items():
            try:
                request.notes[name] = str(eval(code))
            except BaseException as error:
                request.notes[name] = type(error).__name__
"""
ROOT = Path(__file__).resolve().parents[3]
REQUEST = {
    "method": "GET", "path": "/", "authority": "a", "scheme": "http", "headers": [],
    "caller": ["", "", {}], "route": "", "metadata": {},
}  # fmt: skip


class Running:
    """A host, spoken to as the waypoint does."""

    def __init__(self, **more: Any) -> None:
        self.ours, its = socket.socketpair()
        self.ours.settimeout(20)
        with its:
            self.process = subprocess.Popen(
                command(os.getpid(), 64 << 20), stdin=its, env={}, **more
            )
        self.reader = FrameReader()
        self.started = self.read()

    def read(self) -> dict[str, Any]:
        while True:
            for said, _ in self.reader.feed(self.ours.recv(65536)):
                return said

    def ask(self, do: str, **said: Any) -> dict[str, Any]:
        self.ours.sendall(encode({"do": do, "id": 1, **said}))
        return self.read()

    def tried(self, probes: dict[str, str]) -> dict[str, str]:
        """What came of expressions."""
        loaded = self.ask(
            "load", name="p", **{"class": "Probe"}, code=PROBES, entry="", config=probes
        )
        assert loaded["hooks"] == ["on_request"]
        notes: dict[str, str] = self.ask("request", session=1, keep=False, request=REQUEST)[
            "notes"
        ]
        return notes


@pytest.fixture
def end() -> Iterator[list[Running]]:
    running: list[Running] = []
    yield running
    for each in running:
        each.ours.close()
        assert each.process.wait(20) == 0


@pytest.fixture
def secret() -> Iterator[Path]:
    """A file that every user may read."""
    with TemporaryDirectory(prefix="tandem-test-") as name:
        Path(name).chmod(0o755)
        file = Path(name) / "readable"
        file.write_text("by everybody")
        yield file


def test_there_is_neither_network_nor_files_nor_processes(
    end: list[Running], secret: Path
) -> None:
    host = Running()
    end.append(host)
    assert host.started["missing"] == []
    found = host.tried(
        {
            "connect": "socket.create_connection(('127.0.0.1', 22), 1)",
            "interfaces": "[name for _, name in socket.if_nameindex()]",
            "read": f"open({str(secret)!r}).read()",
            "list": "os.listdir('/proc')",
            "write": "open('/tmp/tandem-probe', 'w')",
            "fork": "os.fork()",
            "thread": "threading.Thread(target=print).start()",
            "parent": "os.kill(os.getppid(), 0)",
            "memory": "len(bytearray(200 << 20))",
            "enough": "len(bytearray(20 << 20))",
            "more": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
            "root": "os.setuid(0)",
            "environment": "sorted(set(os.environ) - {'LC_CTYPE'})",
            "place": "os.getcwd()",
            "import": "__import__('decimal').Decimal(1) + 1",
            "files": "[os.dup(0) for _ in range(100)]",
        }
    )
    assert found == {
        "connect": "PermissionError",
        "interfaces": "['lo']",
        "read": "PermissionError",
        "list": "PermissionError",
        "write": "PermissionError",
        "fork": "BlockingIOError",
        "thread": "RuntimeError",
        "parent": "PermissionError",
        "memory": "MemoryError",
        "enough": str(20 << 20),
        "files": "OSError",
        "more": "ValueError",
        "root": "PermissionError",
        "environment": "[]",
        "place": "/",
        "import": "2",
    }


def test_a_host_of_an_ordinary_user_says_what_it_has(end: list[Running]) -> None:
    host = Running(user=65534, group=65534, extra_groups=[])
    end.append(host)
    assert any("of the waypoint's user" in each for each in host.started["missing"])
    found = host.tried({"fork": "os.fork()", "list": "os.listdir('/proc')"})
    assert found == {"fork": "BlockingIOError", "list": "PermissionError"}


def test_root_that_can_be_nobody_else_runs_no_filter() -> None:
    ours, its = socket.socketpair()
    without = ["setpriv", "--bounding-set", "-setuid,-setgid"]
    with its:
        argv = [*without, *command(os.getpid(), 64 << 20)]
        process = subprocess.Popen(argv, stdin=its, env={"PATH": os.environ["PATH"]})
    (told,) = FrameReader().feed(ours.recv(65536))
    assert "give it CAP_SETUID and CAP_SETGID" in told[0]["error"]
    assert process.wait(20) == 0
    ours.close()


def test_it_ends_with_who_started_it_even_in_a_loop() -> None:
    ours, its = socket.socketpair()
    ours.settimeout(20)
    start = (
        "import os, subprocess, sys; sys.path[:0] = ['.']\n"
        "from tandem.host.program import command\n"
        "subprocess.run(command(os.getpid(), 64 << 20), stdin=0, env={})"
    )
    with its:
        parent = subprocess.Popen([sys.executable, "-c", start], stdin=its, cwd=ROOT)
    reader = FrameReader()
    (ready,) = reader.feed(ours.recv(65536))
    assert ready[0]["id"] == 0
    loop = "while True: pass"
    load = {"do": "load", "id": 1, "name": "p", "class": "F", "code": loop, "entry": ""}
    ours.sendall(encode({**load, "config": {}}))
    parent.kill()
    parent.wait()
    # Nobody holds the other end any more.
    with contextlib.suppress(ConnectionResetError):
        assert ours.recv(1) == b""
    ours.close()


def test_it_does_not_begin_without_who_started_it() -> None:
    ours, its = socket.socketpair()
    with its:
        process = subprocess.Popen(command(1, 64 << 20), stdin=its, env={})
    assert process.wait(20) == 0
    ours.close()
