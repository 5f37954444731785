from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.netns_watch import HEADER, NetnsWatch, messages
from tests.support.netns import netns as new_netns


class Watching:
    """A watch that notes what ended."""

    def __init__(self) -> None:
        self.ended: list[int] = []
        self.watch = NetnsWatch(self.ended.append)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.ended) < count:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def watching() -> AsyncIterator[Watching]:
    watching = Watching()
    try:
        yield watching
    finally:
        watching.watch.close()


async def test_a_watched_netns_ends() -> None:
    async with watching() as w:
        with new_netns() as other:
            with new_netns() as netns:
                number = w.watch.watch(netns.fd)
                assert w.watch.watch(other.fd) != number
                assert w.watch.watch(netns.fd) == number
                assert w.watch.alive(number)
            await w.until(1)
            assert w.ended == [number]
            assert not w.watch.alive(number)


async def test_the_watch_keeps_nothing_alive_and_an_id_used_again_is_another() -> None:
    async with watching() as w:
        for count in range(1, 4):
            with new_netns() as netns:
                number = w.watch.watch(netns.fd)
                assert w.watch.alive(number)
            await w.until(count)


async def test_lost_messages_are_made_up_for() -> None:
    async with watching() as w:
        loop = asyncio.get_running_loop()
        with new_netns() as other:
            with new_netns() as netns:
                number, kept = w.watch.watch(netns.fd), w.watch.watch(other.fd)
                loop.remove_reader(w.watch.events)
            async with asyncio.timeout(10):
                while w.watch.exists(number):
                    await asyncio.sleep(0.01)
            w.watch.events = Overrun(w.watch.events)  # type: ignore[assignment]
            w.watch.read()
            assert w.ended == [number]
            assert w.watch.alive(kept)


class Overrun:
    """A socket whose buffer ran over once, and then is empty."""

    def __init__(self, sock: object) -> None:
        self.sock = sock
        self.errors: list[OSError] = [OSError(errno.ENOBUFS, "overrun")]

    def recv(self, _size: int) -> bytes:
        if self.errors:
            raise self.errors.pop()
        raise BlockingIOError

    def fileno(self) -> int:
        return self.sock.fileno()  # type: ignore[attr-defined, no-any-return]

    def close(self) -> None:
        self.sock.close()  # type: ignore[attr-defined]


async def test_a_file_that_is_no_netns() -> None:
    async with watching() as w:
        with Path(os.devnull).open() as nothing, pytest.raises(OSError):
            w.watch.watch(nothing.fileno())


def test_messages_that_end_early_end_the_datagram() -> None:
    assert messages(HEADER.pack(400, 89, 0, 0, 0) + bytes(4)) == [(89, -1)]
    assert messages(HEADER.pack(0, 89, 0, 0, 0)) == [(89, -1)]
    assert messages(b"short") == []
