"""Whose connections are whose, and what becomes of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest

from daemon.tunnel.connection import TunnelConnection
from daemon.tunnel.errors import ResponseFlag, TunnelError
from daemon.tunnel.pool import PoolKey, TunnelPool
from tests.daemon.tunnel.pki import who
from tests.ztunnel_compat.session.pooled import FakeConnection
from ztunnel_compat.runtime.tasks import Tasks


def key(pod: int = 1, source: str = "client", address: str = "10.0.0.2") -> PoolKey:
    return PoolKey(pod, who(source), frozenset((who("server"),)), address, 15008)


class Maker:
    """Connects when it is told to."""

    def __init__(self) -> None:
        self.asked: list[PoolKey] = []
        self.fails: TunnelError | None = None

    async def connect(self, wanted: PoolKey) -> TunnelConnection:
        self.asked.append(wanted)
        if self.fails is not None:
            raise self.fails
        return cast("TunnelConnection", FakeConnection())


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    async with Tasks() as made:
        yield made


async def take(pool: TunnelPool, wanted: PoolKey) -> FakeConnection:
    """As who opens a stream does: nothing is awaited in between."""
    found = cast("FakeConnection", await pool.acquire(wanted))
    found.open_streams += 1
    return found


async def test_keys_share_nothing(tasks: Tasks) -> None:
    maker = Maker()
    pool = TunnelPool(maker.connect, tasks)
    keys = [key(), key(pod=2), key(source="other"), key(address="10.0.0.3")]
    assert len({id(await take(pool, k)) for k in keys}) == 4
    assert await take(pool, key()) is await take(pool, key())


async def test_what_leaves_is_closed(tasks: Tasks) -> None:
    pool = TunnelPool(Maker().connect, tasks)
    gone, stays = await take(pool, key(pod=1)), await take(pool, key(pod=2))
    pool.leave(1)
    assert gone.closed
    assert not stays.closed
    pool.forget(who("client"))
    assert stays.draining
    assert await take(pool, key(pod=2)) is not stays


async def test_what_fails_says_how_it_is_counted(tasks: Tasks) -> None:
    maker = Maker()
    maker.fails = TunnelError(ResponseFlag.TLS_FAILURE, "a test")
    with pytest.raises(TunnelError, match="a test") as caught:
        await take(TunnelPool(maker.connect, tasks), key())
    assert caught.value.flag is ResponseFlag.TLS_FAILURE
    with pytest.raises(TunnelError, match="0 HBONE connections are in use"):
        await take(TunnelPool(maker.connect, tasks, most=0), key())
