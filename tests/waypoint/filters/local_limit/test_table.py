"""Places for buckets: found again, given up when full, bounded."""

from __future__ import annotations

import random

from waypoint.filters.local_limit.table import WAYS, Place, Table


def table(rows: int = 1, start: int = 4) -> Table:
    words = memoryview(bytearray(8 * (start + Table.size(rows)))).cast("q")
    return Table(words, start, rows)


def put(made: Table, name: int, full: int, now: int) -> None:
    """Have a bucket be full at a moment."""
    made.words[made.find(Place(name), now)] = full


def test_a_bucket_is_found_again_by_whoever_asks() -> None:
    made = table(4)
    for name in range(1, 33):
        put(made, name * 7 - 100, name, 0)
    for name in range(1, 33):
        assert made.words[made.find(Place(name * 7 - 100), 0)] == name
    assert made.evicted == 0


def test_a_place_is_remembered_for_as_long_as_it_is_the_bucket_s() -> None:
    made, place = table(), Place(5)
    at = made.find(place, 0)
    made.words[at] = 50
    assert made.find(place, 0) == at
    for name in range(100, 100 + WAYS):
        put(made, name, 90, 10)
    assert made.evicted == 1
    # Its place is another's now; it gets one of its own again, as a full one.
    assert made.words[made.find(place, 11)] == 11


def test_what_is_full_goes_first_and_costs_nothing() -> None:
    made = table()
    for name in range(1, WAYS + 1):
        put(made, name, 100 + name, 0)
    put(made, 99, 500, 101)
    assert made.evicted == 0
    assert made.words[made.find(Place(2), 101)] == 102
    # Then the one that is full the soonest, which is counted.
    put(made, 98, 500, 101)
    assert made.evicted == 1
    assert made.words[made.find(Place(3), 101)] == 103


def test_neighbours_keep_to_themselves() -> None:
    made = table(8)
    draw = random.Random(3)
    states: dict[int, int] = {}
    for name in {draw.randint(-(2**62), 2**62) for _ in range(60)}:
        states[name] = draw.randrange(10**6, 10**9)
        put(made, name, states[name], 0)
    assert made.evicted == 0
    assert all(made.words[made.find(Place(n), 0)] == full for n, full in states.items())
    assert made.words[:4].tolist() == [0] * 4
