"""Which connection a stream gets, and when another is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.ztunnel_compat.session.pooled import FakeConnection
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.session.pool import SPREAD, ConnectError, Pool


class Maker:
    """Connects when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = asyncio.Event()
        self.go.set()
        self.fails: ConnectError | None = None
        self.made: FakeConnection | None = None

    async def connect(self, wanted: str) -> FakeConnection:
        self.asked.append(wanted)
        await self.go.wait()
        if self.fails is not None:
            raise self.fails
        return self.made or FakeConnection()


def pool_of(maker: Maker, tasks: Tasks, most: int = 16) -> Pool[str, FakeConnection]:
    return Pool(maker.connect, tasks, ConnectError, most=most)


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    async with Tasks() as made:
        yield made


async def take(pool: Pool[str, FakeConnection], wanted: str) -> FakeConnection:
    """As who opens a stream does: nothing is awaited in between."""
    found = await pool.acquire(wanted)
    found.open_streams += 1
    return found


async def test_one_is_made_for_all_who_ask_at_once(tasks: Tasks) -> None:
    maker = Maker()
    pool = pool_of(maker, tasks)
    maker.go.clear()
    asking = [asyncio.ensure_future(take(pool, "a")) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(maker.asked) == 1
    maker.go.set()
    assert len(set(await asyncio.gather(*asking))) == 1
    assert (pool.opened, pool.total) == (1, 1)


async def test_a_crowd_gets_as_many_as_it_fills(tasks: Tasks) -> None:
    maker = Maker()
    pool = pool_of(maker, tasks)
    found = await asyncio.gather(*(take(pool, "a") for _ in range(1_000)))
    assert len(set(found)) == 10
    assert all(connection.open_streams == 100 for connection in found)
    assert len(maker.asked) == 10


async def test_failure_is_given_to_all_who_wait_and_not_kept(tasks: Tasks) -> None:
    maker = Maker()
    pool = pool_of(maker, tasks)
    maker.go.clear()
    maker.fails = ConnectError("a test")
    asking = [asyncio.ensure_future(take(pool, "a")) for _ in range(5)]
    await asyncio.sleep(0)
    maker.go.set()
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert [repr(result) for result in results] == ["ConnectError('a test')"] * 5
    # Each has one of its own, lest they share a traceback.
    assert len({id(result) for result in results}) == 5
    assert not pool.groups
    assert (pool.failed, pool.total) == (1, 0)
    maker.fails = None
    assert await take(pool, "a")


async def test_who_waits_no_more_leaves_no_trace(tasks: Tasks) -> None:
    maker = Maker()
    pool = pool_of(maker, tasks)
    maker.go.clear()
    asking = asyncio.ensure_future(take(pool, "a"))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    maker.go.set()
    connection = await take(pool, "a")
    connection.abort("a test")
    assert not pool.groups
    assert pool.total == 0


async def test_large_flows_keep_apart(tasks: Tasks) -> None:
    maker = Maker()
    pool = pool_of(maker, tasks)
    used = []
    for _ in range(SPREAD):
        connection = await take(pool, "a")
        connection.heavy += 1
        used.append(connection)
    assert len(set(used)) == SPREAD
    # No more than that: the one with the fewest.
    used[0].heavy += 1
    assert await take(pool, "a") is used[1]
    used[2].heavy = 0
    assert await take(pool, "a") is used[2]
    assert len(maker.asked) == SPREAD


async def test_idle_ones_make_room(tasks: Tasks) -> None:
    maker = Maker()
    pool = pool_of(maker, tasks, most=2)
    old, busy = await take(pool, "1"), await take(pool, "2")
    with pytest.raises(ConnectError, match="2 HBONE connections are in use"):
        await take(pool, "3")
    assert (pool.refused, pool.total) == (1, 2)
    old.open_streams = 0
    old.idle_since = 1.0
    await take(pool, "3")
    assert old.closed
    assert not busy.closed
    assert (pool.evicted, pool.total) == (1, 2)


async def test_drain_and_close(tasks: Tasks) -> None:
    pool = pool_of(Maker(), tasks)
    connection = await take(pool, "a")
    pool.drain()
    assert connection.draining
    with pytest.raises(ConnectError, match="stopping"):
        await take(pool, "a")
    pool.close("a test")
    assert connection.closed
    assert pool.total == 0


async def test_one_that_is_gone_when_it_is_made_fails_who_waits(tasks: Tasks) -> None:
    maker = Maker()
    maker.made = FakeConnection()
    maker.made.failure = ConnectError("it may not trust our certificate")
    maker.made.abort("a test")
    pool = pool_of(maker, tasks)
    with pytest.raises(ConnectError, match="may not trust"):
        async with asyncio.timeout(5):
            await pool.acquire("a")
    assert (pool.total, pool.groups) == (0, {})
