"""Sockets in another namespace, and taking connections."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bpf.errors import NetnsError
from bpf.layout import FlowFlag, Mark
from bpf.marks import MemoryMarks
from bpf.netns import SO_NETNS_COOKIE, in_netns, netns_cookie
from daemon.tunnel import sockets
from daemon.tunnel.poller import Poller
from daemon.tunnel.sockets import KEEPALIVE, Acceptor, PodSockets, peer_of, reset
from tests.support.netns import netns


@pytest.fixture
def made() -> Iterator[PodSockets]:
    pod_sockets = PodSockets(MemoryMarks())
    yield pod_sockets
    pod_sockets.close()


def cookie_of(connection: socket.socket) -> int:
    raw = connection.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    return int.from_bytes(raw, "little")


@pytest.fixture
def pod() -> Iterator[int]:
    """A network namespace's descriptor; lo is up."""
    with netns() as found:
        yield found.fd


def test_socket_is_made_there_and_the_thread_stays_here(made: PodSockets, pod: int) -> None:
    with made.open(pod, socket.AF_INET) as there, socket.socket() as here:
        assert cookie_of(there) == netns_cookie(pod)
        assert cookie_of(here) != cookie_of(there)
        assert made.marks.get(there.fileno()) == Mark()
        assert not there.getblocking()
        assert there.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_what_is_no_namespace(made: PodSockets) -> None:
    with Path(os.devnull).open() as file, pytest.raises(NetnsError):
        made.open(file.fileno(), socket.AF_INET)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_connects_from_within(made: PodSockets, pod: int, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with in_netns(pod):
        listener = socket.create_server((address, 0), family=family)
    mark = Mark(source=7, flags=FlowFlag.TUNNELLED)
    with listener:
        port = listener.getsockname()[1]
        with await made.connect(pod, address, port, mark) as connection:
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getpeername() == connection.getsockname()
                assert made.marks.get(connection.fileno()) == mark
                assert kept_alive(connection) == KEEPALIVE
    with pytest.raises(ConnectionRefusedError):
        await made.connect(pod, address, port)


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    made = Poller()
    yield made
    made.close()


async def test_acceptor_takes_all_and_leaves_the_listener_open(poller: Poller) -> None:
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        listener.setblocking(False)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(100)]
        acceptor = Acceptor(poller, listener, taken.append)
        while len(taken) < 100:
            await asyncio.sleep(0)
        assert not any(connection.getblocking() for connection in taken)
        acceptor.close()
        clients.append(socket.create_connection(listener.getsockname()))
        await asyncio.sleep(0)
        assert len(taken) == 100
        again = Acceptor(poller, listener, taken.append)
        while len(taken) < 101:
            await asyncio.sleep(0)
        again.close()
    for connection in taken + clients:
        connection.close()


async def test_acceptor_that_has_no_descriptors_waits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, poller: Poller
) -> None:
    monkeypatch.setattr(sockets, "BREATH", 0.0)
    short = [OSError(errno.EMFILE, "Too many open files")]

    class Listener(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            if short:
                raise short.pop()
            return super().accept()

    with Listener() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        arrived: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        acceptor = Acceptor(poller, listener, arrived.set_result)
        with socket.create_connection(listener.getsockname()), await arrived:
            assert "can't accept connections" in caplog.text
        acceptor.close()


def test_reset_is_seen_as_an_error() -> None:
    ours, theirs = pair()
    reset(ours)
    with theirs, pytest.raises(ConnectionResetError):
        theirs.recv(1)
    reset(ours)


def test_nobody_knows_a_connection_that_no_program_saw() -> None:
    ours, theirs = pair()
    with ours, theirs:
        assert peer_of(ours) is None


def kept_alive(connection: socket.socket) -> tuple[int, ...]:
    """Seconds idle, seconds between probes, probes; empty: it isn't."""
    if not connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        return ()
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    return tuple(connection.getsockopt(socket.IPPROTO_TCP, option) for option in options)


def pair() -> tuple[socket.socket, socket.socket]:
    """A TCP connection's ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return server, client
