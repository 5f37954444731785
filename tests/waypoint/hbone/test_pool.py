from __future__ import annotations

import asyncio
import errno

from tests.daemon.tunnel.pki import who
from waypoint.hbone.connection import HboneConnection
from waypoint.hbone.errors import TunnelError, UnprovenError
from waypoint.hbone.pool import Key, make_pool
from ztunnel_compat.runtime.tasks import Tasks


async def test_all_who_wait_fail_with_an_error_of_the_system() -> None:
    async def connect(key: Key) -> HboneConnection:
        raise UnprovenError(f"not {key.identity.service_account}")

    async with Tasks() as tasks:
        pool = make_pool(connect, tasks)
        waiting = [pool.acquire(Key("10.0.0.1", who("you"))) for _ in range(2)]
        errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(error) for error in errors] == ["[Errno 71] not you"] * 2
    assert all(isinstance(error, TunnelError) for error in errors)
    assert [error.errno for error in errors if isinstance(error, OSError)] == [errno.EPROTO] * 2
