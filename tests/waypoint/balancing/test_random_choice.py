from __future__ import annotations

import random
from collections import Counter

from tests.waypoint.balancing.hosts import hosts
from waypoint.balancing.random_choice import RandomChoice


def test_all_alike_whatever_they_weigh() -> None:
    members = hosts(1, 9, 1, 1)
    choice = RandomChoice(members)
    draw = random.Random(9)
    counts = Counter(choice.pick(draw.random()) for _ in range(8000))
    assert all(abs(counts[h] - 2000) < 200 for h in members)
    assert len({choice.pick(0.2, attempt=n).label for n in range(30)}) == 4
