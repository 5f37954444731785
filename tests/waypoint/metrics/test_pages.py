from __future__ import annotations

import asyncio
import json

import pytest

from tests.waypoint.mesh import running
from waypoint.metrics.pages import page_of, sliced, source_of
from waypoint.metrics.snapshot import read_snapshot
from ztunnel_compat.runtime.exposition import exposition


async def test_a_parent_and_prometheus_are_told_the_same() -> None:
    async with running() as mesh:
        mesh.worker.stats.stray_bytes = 7
        page = page_of(mesh.worker)
        first, second = (read_snapshot(json.loads(json.dumps(page()))) for _ in range(2))
        assert first.life == second.life
        assert first.counts["stray_bytes",] == 7
        assert read_snapshot(page_of(mesh.worker)()).life != first.life
        text = exposition((await source_of(mesh.worker)())()).decode()
        assert "\ntandem_waypoint_stray_bytes_total 7\n" in text


async def test_requests_get_their_turn_while_text_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("waypoint.metrics.pages.SLICE_SECONDS", 0.0)
    turns: list[int] = []

    async def other() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    working = asyncio.ensure_future(other())
    assert await sliced(str(n) for n in range(100)) == [b"%d" % n for n in range(100)]
    working.cancel()
    assert len(turns) >= 50
