from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from tests.waypoint.mesh import running
from waypoint.worker import MANY


class Written:
    """Stands for a connection that has something to write."""

    def __init__(self) -> None:
        self.times = 0

    def flush(self) -> None:
        self.times += 1


@pytest.mark.parametrize(("active", "turns"), [(0, 1), (MANY - 1, 1), (MANY, 2)])
async def test_with_much_under_way_writes_wait_for_another_turn(
    active: int, turns: int
) -> None:
    async with running() as mesh:
        worker, one, other = mesh.worker, Written(), Written()
        worker.active = active
        worker.flush_soon(cast("Any", one))
        worker.flush_soon(cast("Any", other))
        for _ in range(turns):
            assert (one.times, other.times) == (0, 0)
            await asyncio.sleep(0)
        assert (one.times, other.times) == (1, 1)
        worker.active = 0
