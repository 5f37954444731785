from __future__ import annotations

import json
from collections.abc import Sequence

from waypoint.metrics.pages import PAGE
from waypoint.metrics.parent import Numbers
from waypoint.metrics.snapshot import Snapshot
from ztunnel_compat.runtime.exposition import exposition


async def test_all_workers_are_asked_and_one_that_is_away_takes_nothing_along() -> None:
    workers = [
        Snapshot(1, counts={("requests",): 3}, gauges={("active_connections", "http"): 1}),
        Snapshot(2, counts={("requests",): 4}, gauges={("active_connections", "http"): 2}),
    ]
    away: set[int] = set()

    async def ask(page: str) -> Sequence[tuple[int, str]]:
        assert page == PAGE
        return [
            (503, "starting") if number in away else (200, json.dumps(each.dump()))
            for number, each in enumerate(workers)
        ]

    numbers = Numbers(ask, lambda: 5)
    found = await numbers.collect()
    assert found.counts["requests",] == 7
    assert found.counts["worker_starts",] == 5
    assert found.gauges["active_connections", "http"] == 3
    away.add(1)
    found = await numbers.collect()
    assert found.counts["requests",] == 7
    assert found.gauges["active_connections", "http"] == 1
    away.clear()
    workers[1] = Snapshot(3, counts={("requests",): 1})
    text = exposition((await numbers.source())()).decode()
    assert "\ntandem_waypoint_requests_total 8\n" in text
    assert "\ntandem_waypoint_worker_starts_total 5\n" in text
