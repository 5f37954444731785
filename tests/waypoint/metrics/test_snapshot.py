from __future__ import annotations

import json

from waypoint.metrics.snapshot import Snapshot, read_snapshot


def test_it_survives_being_told() -> None:
    made = Snapshot(
        3, {("a", "b"): [1]}, {("c",): [2]}, {("n", "x"): 4}, {("g",): 5}, {("m",): [6, 7]}
    )
    assert read_snapshot(json.loads(json.dumps(made.dump()))) == made
