from __future__ import annotations

import random

import pytest

from waypoint.balancing.priorities import Health, Load, locality_share, priority_loads


@pytest.mark.parametrize(
    ("hosts", "threshold", "loads"),
    [
        ([], 50, []),
        ([(3, 3)], 50, [(100, False)]),
        # 72 % healthy still takes everything (overprovisioning 1.4).
        ([(72, 100), (100, 100)], 50, [(100, False), (0, False)]),
        ([(70, 100), (100, 100)], 50, [(98, False), (2, False)]),
        ([(50, 100), (100, 100)], 50, [(70, False), (30, False)]),
        ([(25, 100), (100, 100)], 50, [(35, False), (65, False)]),
        ([(0, 100), (100, 100)], 50, [(0, False), (100, False)]),
        # Envoy's documentation: both at 25 % panic, and share by their size.
        ([(25, 100), (25, 100)], 50, [(50, True), (50, True)]),
        ([(5, 100), (65, 100)], 50, [(8, True), (92, False)]),
        ([(0, 4)], 50, [(100, True)]),
        ([(1, 4)], 0, [(100, False)]),
        ([(0, 4)], 0, [(100, False)]),
        ([(2, 4)], 50, [(100, False)]),
        ([(1, 4)], 50, [(100, True)]),
        ([(0, 0), (1, 1)], 50, [(0, False), (100, False)]),
        ([(0, 0), (0, 3)], 50, [(0, True), (100, True)]),
        ([(0, 1), (0, 2)], 50, [(34, True), (66, True)]),
    ],
)  # fmt: skip
def test_loads(
    hosts: list[tuple[int, int]], threshold: float, loads: list[tuple[int, bool]]
) -> None:
    found = priority_loads([Health(*pair) for pair in hosts], threshold)
    assert found == [Load(*pair) for pair in loads]


def test_all_of_the_load_goes_somewhere() -> None:
    draw = random.Random(6)
    for _ in range(2000):
        levels = [
            Health(draw.randint(0, hosts), hosts)
            for hosts in (draw.randint(0, 12) for _ in range(draw.randint(1, 5)))
        ]
        loads = priority_loads(levels, draw.choice([0, 30, 50, 100]))
        assert sum(load.share for load in loads) == 100
        assert all(load.share >= 0 for load in loads)


@pytest.mark.parametrize(("healthy", "share"), [(10, 100.0), (8, 100.0), (5, 70.0), (0, 0.0)])
def test_a_locality_counts_less_when_it_is_ill(healthy: int, share: float) -> None:
    assert locality_share(100, Health(healthy, 10)) == pytest.approx(share)
    assert locality_share(100, Health(0, 0)) == 0
