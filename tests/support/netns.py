"""Real network namespaces for tests: never named, gone with the test's process.

    with pair() as (client, server):
        listener = server.listen(server.v4, 80)
        client.run(["curl", f"http://{server.v4}/"])

Each is held by a file descriptor alone, so that nothing is left behind however a
test ends. IPv4 and IPv6 are up, with forwarding and duplicate detection off.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bpf.netns import in_netns, netns_cookie

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Netns:
    """One network namespace; v4, v6: its addresses on eth0, as text."""

    fd: int
    v4: str
    v6: str

    @property
    def path(self) -> str:
        """A file that names it, for other processes of this test."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @property
    def cookie(self) -> int:
        """Its netns cookie."""
        return netns_cookie(self.fd)

    def address(self, family: int) -> str:
        """Its address of a family."""
        return self.v6 if family == socket.AF_INET6 else self.v4

    def open_socket(
        self,
        family: int = socket.AF_INET,
        kind: int = socket.SOCK_STREAM,
        protocol: int = 0,
    ) -> socket.socket:
        """A socket of this process in it."""
        with in_netns(self.fd):
            made = socket.socket(family, kind, protocol)
        made.settimeout(10)
        return made

    def listen(self, address: str, port: int, backlog: int = 128) -> socket.socket:
        """A listening TCP socket of this process in it."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = self.open_socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(backlog)
        return listener

    def popen(self, command: Sequence[str]) -> subprocess.Popen[str]:
        """Start a program in it; text pipes for stdin, stdout and stderr."""
        return subprocess.Popen(
            ["nsenter", f"--net={self.path}", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, command: Sequence[str], timeout: float = 30) -> str:
        """Run a program in it; its output, or CalledProcessError."""
        done = subprocess.run(
            ["nsenter", f"--net={self.path}", *command],
            stdout=subprocess.PIPE,
            text=True,
            timeout=timeout,
            check=True,
        )
        return done.stdout

    def python(self, code: str, *arguments: str) -> str:
        """Run Python code in it; its output."""
        return self.run([sys.executable, "-c", code, *arguments])

    def sysctl(self, name: str, value: str) -> None:
        """Set one of its own sysctls, e.g. ``net/ipv4/tcp_syncookies``."""
        with in_netns(self.fd):
            Path("/proc/sys", name).write_text(value)


@contextlib.contextmanager
def netns(v4: str = "", v6: str = "") -> Iterator[Netns]:
    """A namespace with nothing but lo, up; v4, v6: what it will be called by."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if LIBC.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            LIBC.setns(home, CLONE_NEWNET)
    finally:
        os.close(home)
    try:
        made = Netns(fd, v4, v6)
        made.run(["ip", "link", "set", "lo", "up"])
        yield made
    finally:
        os.close(fd)


@contextlib.contextmanager
def pair() -> Iterator[tuple[Netns, Netns]]:
    """Two namespaces joined by a veth, .1 and .2 of 10.99.0.0/24 and fd99::/64."""
    with netns("10.99.0.1", "fd99::1") as left, netns("10.99.0.2", "fd99::2") as right:
        veth(left, "eth0", right, "eth0")
        for one in (left, right):
            configure(one)
        yield left, right


@contextlib.contextmanager
def lan(count: int) -> Iterator[list[Netns]]:
    """Namespaces on one bridge, .1 to .count of 10.99.0.0/24 and fd99::/64."""
    with contextlib.ExitStack() as stack:
        hub = stack.enter_context(netns())
        hub.run(["ip", "link", "add", "br0", "type", "bridge"])
        hub.run(["ip", "link", "set", "br0", "up"])
        made = []
        for number in range(1, count + 1):
            one = stack.enter_context(netns(f"10.99.0.{number}", f"fd99::{number:x}"))
            veth(one, "eth0", hub, f"port{number}")
            hub.run(["ip", "link", "set", f"port{number}", "up", "master", "br0"])
            configure(one)
            made.append(one)
        yield made


def veth(left: Netns, name: str, right: Netns, peer: str) -> None:
    """Join two namespaces."""
    ends = ["ip", "link", "add", name, "type", "veth", "peer", "name", peer]
    left.run([*ends, "netns", right.path])


def configure(one: Netns) -> None:
    """Give eth0 its addresses and bring it up."""
    one.run(["ip", "addr", "add", f"{one.v4}/24", "dev", "eth0"])
    one.run(["ip", "addr", "add", f"{one.v6}/64", "dev", "eth0", "nodad"])
    one.run(["ip", "link", "set", "eth0", "up"])
