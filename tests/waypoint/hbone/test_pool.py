from __future__ import annotations

import asyncio
from typing import cast

import pytest

from tests.daemon.tunnel.pki import who
from tests.waypoint.mesh import until
from waypoint.hbone.connection import HboneConnection
from waypoint.hbone.errors import BrokenError, TunnelError, UnprovenError
from waypoint.hbone.pool import Key, Pool
from ztunnel_compat.runtime.tasks import Tasks

KEY, OTHER = Key("10.0.0.1", who("a")), Key("10.0.0.2", who("a"))


class Fake:
    """A connection as the pool sees one."""

    def __init__(self, idle_since: float = 1.0) -> None:
        self.usable = True
        self.closed = False
        self.error = ""
        self.idle_since = idle_since
        self.http = self
        self.open_streams = 0
        self.ended = lambda _: None

    def abort(self, why: str) -> None:
        self.error = why
        self.closed = True
        self.usable = False
        self.ended(self)


class Maker:
    """Makes connections when it is let; error: why it doesn't."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.made: list[Fake] = []
        self.error: TunnelError | None = None
        self.keys: list[Key] = []

    async def __call__(self, key: Key) -> HboneConnection:
        self.keys.append(key)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        self.made.append(Fake(idle_since=float(len(self.made) + 1)))
        return cast("HboneConnection", self.made[-1])


async def test_all_who_want_one_wait_for_the_same() -> None:
    async with Tasks() as tasks:
        maker = Maker()
        pool = Pool(maker, tasks)
        waiting = [asyncio.ensure_future(pool.acquire(KEY)) for _ in range(5)]
        await until(lambda: maker.keys)
        maker.go.set()
        assert {await each for each in waiting} == {pool.find(KEY)}
        assert maker.keys == [KEY]
        assert pool.find(OTHER) is None


async def test_all_who_wait_fail_each_with_an_error_of_its_own() -> None:
    async with Tasks() as tasks:
        maker = Maker()
        maker.error = UnprovenError("not you")
        pool = Pool(maker, tasks)
        waiting = [asyncio.ensure_future(pool.acquire(KEY)) for _ in range(2)]
        await until(lambda: maker.keys)
        maker.go.set()
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(error) for error in errors] == ["[Errno 71] not you"] * 2
        assert errors[0] is not errors[1]
        assert (pool.total, pool.making) == (0, {})
        assert tasks.failure is None


async def test_who_stops_waiting_doesn_t_stop_the_others() -> None:
    async with Tasks() as tasks:
        maker = Maker()
        pool = Pool(maker, tasks)
        first, second = (asyncio.ensure_future(pool.acquire(KEY)) for _ in range(2))
        await until(lambda: maker.keys)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        maker.go.set()
        assert await second is pool.find(KEY)


async def test_a_full_one_is_joined_by_another_and_what_ended_is_forgotten() -> None:
    async with Tasks() as tasks:
        maker = Maker()
        maker.go.set()
        pool = Pool(maker, tasks)
        first = await pool.acquire(KEY)
        maker.made[0].usable = False
        second = await pool.acquire(KEY)
        assert first is not second
        assert pool.total == 2
        maker.made[0].abort("over")
        maker.made[1].abort("over")
        assert (pool.total, pool.connections) == (0, {})


async def test_an_idle_one_makes_room() -> None:
    async with Tasks() as tasks:
        maker = Maker()
        maker.go.set()
        pool = Pool(maker, tasks, most=2)
        third = Key("10.0.0.3", who("a"))
        await pool.acquire(KEY)
        await pool.acquire(OTHER)
        maker.made[0].open_streams = 1
        await pool.acquire(third)
        assert maker.made[1].closed
        for made in maker.made:
            made.open_streams = 1
        with pytest.raises(BrokenError, match="2 HBONE connections are in use"):
            await pool.acquire(OTHER)
        pool.close()
        assert (pool.total, pool.connections) == (0, {})
