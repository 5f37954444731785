"""Listening sockets from one process to the next, without a refused connection."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

from bpf.layout import TunnelPort
from daemon.tunnel.handover import COOKIE, give, take
from daemon.tunnel.listeners import Listeners, open_listeners
from tests.support.netns import Netns, netns
from ztunnel_compat.drivers.seqpacket import SeqPacket
from ztunnel_compat.runtime.tasks import Tasks


async def offered(path: Path) -> None:
    async with asyncio.timeout(10):
        while not path.is_socket():
            await asyncio.sleep(0.005)


async def test_sockets_change_hands(tmp_path: Path) -> None:
    path = tmp_path / "handover.sock"
    with netns() as one, netns() as two:
        mine = {pod.cookie: open_listeners(pod.fd) for pod in (one, two)}
        async with Tasks() as tasks:
            giving = tasks.spawn(give(path, mine), "give")
            await offered(path)
            assert path.stat().st_mode & 0o777 == 0o600
            theirs = await take(path)
            await giving
        assert not path.exists()
        assert theirs.keys() == mine.keys()
        early = one.open_socket()
        early.connect(("127.0.0.1", TunnelPort.HBONE))
        for listeners in mine.values():
            listeners.close()
        for cookie, listeners in theirs.items():
            assert [one.getsockname() for one in listeners] == ports(listeners)
            assert cookie in mine
        accepted, _ = theirs[one.cookie].hbone[0].accept()
        accepted.close()
        early.close()
        for listeners in theirs.values():
            listeners.close()


def ports(listeners: Listeners) -> list[object]:
    names: list[object] = [("127.0.0.1", 15001)]
    names += [("::1", 15001, 0, 0)] * (len(listeners.outbound) - 1)
    names += [("0.0.0.0", 15008)] + [("::", 15008, 0, 0)] * (len(listeners.hbone) - 1)
    return names


async def test_nobody_is_refused_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "handover.sock"
    failures: list[OSError] = []
    over = threading.Event()
    with netns() as pod:
        knocking = threading.Thread(target=knock, args=(pod, over, failures))
        listeners = open_listeners(pod.fd)
        knocking.start()
        try:
            for _ in range(20):
                async with Tasks() as tasks:
                    giving = tasks.spawn(give(path, {pod.cookie: listeners}), "give")
                    await offered(path)
                    taken = await take(path)
                    await giving
                listeners.close()
                listeners = taken[pod.cookie]
                drain(listeners)
        finally:
            over.set()
            knocking.join()
            listeners.close()
        assert not failures


def knock(pod: Netns, over: threading.Event, failures: list[OSError]) -> None:
    """Connect again and again, from within the pod."""
    while not over.is_set():
        with pod.open_socket() as opened:
            try:
                opened.connect(("127.0.0.1", TunnelPort.HBONE))
            except OSError as error:
                failures.append(error)


def drain(listeners: Listeners) -> None:
    for one in listeners:
        while True:
            try:
                one.accept()[0].close()
            except BlockingIOError:
                break


async def test_a_successor_that_dies_leaves_them_to_another(tmp_path: Path) -> None:
    path = tmp_path / "handover.sock"
    with netns() as pod:
        listeners = open_listeners(pod.fd)
        async with Tasks() as tasks:
            giving = tasks.spawn(give(path, {pod.cookie: listeners}), "give")
            await offered(path)
            dying = SeqPacket.connect(path, COOKIE.size)
            packet = await dying.receive()
            assert packet is not None
            packet.close()
            dying.close()
            taken = await take(path)
            await giving
        assert list(taken) == [pod.cookie]
        for each in (listeners, *taken.values()):
            each.close()


async def test_without_a_predecessor_there_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "handover.sock"
    assert await take(path) == {}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stale:
        stale.bind(str(path))
    assert await take(path) == {}
    assert not path.exists()


async def test_a_predecessor_that_dies_gives_nothing(tmp_path: Path) -> None:
    path = tmp_path / "handover.sock"
    with netns() as pod, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dying:
        listeners = open_listeners(pod.fd)
        dying.bind(str(path))
        dying.listen(1)
        async with Tasks() as tasks:
            taking = tasks.spawn(take(path), "take")
            accepted, _ = await asyncio.to_thread(dying.accept)
            fd = listeners.hbone[0].fileno()
            socket.send_fds(accepted, [COOKIE.pack(pod.cookie)], [fd])
            accepted.close()
            assert await taking == {}
        listeners.close()
        # Nothing of what came is left open.
        open_listeners(pod.fd).close()


async def test_what_isn_t_understood_isn_t_taken(tmp_path: Path) -> None:
    path = tmp_path / "handover.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as odd:
        odd.bind(str(path))
        odd.listen(1)
        async with Tasks() as tasks:
            taking = tasks.spawn(take(path), "take")
            accepted, _ = await asyncio.to_thread(odd.accept)
            accepted.send(b"abc")
            assert await taking == {}
            accepted.close()
