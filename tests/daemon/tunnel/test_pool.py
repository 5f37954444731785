"""Which connection a stream gets, and when another is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from daemon.tunnel.connection import TunnelConnection
from daemon.tunnel.errors import ResponseFlag, TunnelError
from daemon.tunnel.pool import SPREAD, Pool, PoolKey
from tests.daemon.tunnel.pki import who
from ztunnel_compat.runtime.tasks import Tasks


def key(pod: int = 1, source: str = "client", address: str = "10.0.0.2") -> PoolKey:
    return PoolKey(pod, who(source), frozenset((who("server"),)), address, 15008)


class FakeConnection:
    """What the pool sees of a connection."""

    def __init__(self) -> None:
        self.open_streams = 0
        self.heavy = 0
        self.idle_since = 0.0
        self.closed = self.draining = False
        self.ended: Callable[[FakeConnection], None] = lambda _: None

    @property
    def usable(self) -> bool:
        return not self.closed and not self.draining and self.open_streams < 100

    def drain(self) -> None:
        self.draining = True

    def abort(self, why: str) -> None:
        self.closed = True
        self.ended(self)


class Maker:
    """Connects when it is told to."""

    def __init__(self) -> None:
        self.asked: list[PoolKey] = []
        self.go = asyncio.Event()
        self.go.set()
        self.fails: TunnelError | None = None

    async def connect(self, wanted: PoolKey) -> TunnelConnection:
        self.asked.append(wanted)
        await self.go.wait()
        if self.fails is not None:
            raise self.fails
        return cast("TunnelConnection", FakeConnection())


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    async with Tasks() as made:
        yield made


async def take(pool: Pool, wanted: PoolKey) -> FakeConnection:
    """As who opens a stream does: nothing is awaited in between."""
    found = cast("FakeConnection", await pool.acquire(wanted))
    found.open_streams += 1
    return found


async def test_one_is_made_for_all_who_ask_at_once(tasks: Tasks) -> None:
    maker = Maker()
    pool = Pool(maker.connect, tasks)
    maker.go.clear()
    asking = [asyncio.ensure_future(take(pool, key())) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(maker.asked) == 1
    maker.go.set()
    assert len(set(await asyncio.gather(*asking))) == 1
    assert (pool.opened, pool.total) == (1, 1)


async def test_a_crowd_gets_as_many_as_it_fills(tasks: Tasks) -> None:
    maker = Maker()
    pool = Pool(maker.connect, tasks)
    found = await asyncio.gather(*(take(pool, key()) for _ in range(1_000)))
    assert len(set(found)) == 10
    assert all(connection.open_streams == 100 for connection in found)
    assert len(maker.asked) == 10


async def test_keys_share_nothing(tasks: Tasks) -> None:
    maker = Maker()
    pool = Pool(maker.connect, tasks)
    keys = [key(), key(pod=2), key(source="other"), key(address="10.0.0.3")]
    assert len({id(await take(pool, k)) for k in keys}) == 4
    assert await take(pool, key()) is await take(pool, key())


async def test_failure_is_given_to_all_who_wait_and_not_kept(tasks: Tasks) -> None:
    maker = Maker()
    pool = Pool(maker.connect, tasks)
    maker.go.clear()
    maker.fails = TunnelError(ResponseFlag.TLS_FAILURE, "a test")
    asking = [asyncio.ensure_future(take(pool, key())) for _ in range(5)]
    await asyncio.sleep(0)
    maker.go.set()
    for result in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(result, TunnelError)
        assert (result.flag, str(result)) == (ResponseFlag.TLS_FAILURE, "a test")
    assert not pool.groups
    assert (pool.failed, pool.total) == (1, 0)
    maker.fails = None
    assert await take(pool, key())


async def test_who_waits_no_more_leaves_no_trace(tasks: Tasks) -> None:
    maker = Maker()
    pool = Pool(maker.connect, tasks)
    maker.go.clear()
    asking = asyncio.ensure_future(take(pool, key()))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    maker.go.set()
    connection = await take(pool, key())
    connection.abort("a test")
    assert not pool.groups
    assert pool.total == 0


async def test_large_flows_keep_apart(tasks: Tasks) -> None:
    maker = Maker()
    pool = Pool(maker.connect, tasks)
    used = []
    for _ in range(SPREAD):
        connection = await take(pool, key())
        connection.heavy += 1
        used.append(connection)
    assert len(set(used)) == SPREAD
    # No more than that: the one with the fewest.
    used[0].heavy += 1
    assert await take(pool, key()) is used[1]
    used[2].heavy = 0
    assert await take(pool, key()) is used[2]
    assert len(maker.asked) == SPREAD


async def test_idle_ones_make_room(tasks: Tasks) -> None:
    maker = Maker()
    pool = Pool(maker.connect, tasks, most=2)
    old, busy = await take(pool, key(pod=1)), await take(pool, key(pod=2))
    with pytest.raises(TunnelError, match="2 tunnel connections are in use"):
        await take(pool, key(pod=3))
    assert (pool.refused, pool.total) == (1, 2)
    old.open_streams = 0
    old.idle_since = 1.0
    await take(pool, key(pod=3))
    assert old.closed
    assert not busy.closed
    assert (pool.evicted, pool.total) == (1, 2)


async def test_what_leaves_is_closed(tasks: Tasks) -> None:
    pool = Pool(Maker().connect, tasks)
    gone, stays = await take(pool, key(pod=1)), await take(pool, key(pod=2))
    pool.leave(1)
    assert gone.closed
    assert not stays.closed
    pool.forget(who("client"))
    assert stays.draining
    assert await take(pool, key(pod=2)) is not stays


async def test_drain_and_close(tasks: Tasks) -> None:
    pool = Pool(Maker().connect, tasks)
    connection = await take(pool, key())
    pool.drain()
    assert connection.draining
    with pytest.raises(TunnelError, match="stopping"):
        await take(pool, key())
    pool.close()
    assert connection.closed
    assert pool.total == 0
