from __future__ import annotations

import random

from waypoint.metrics.book import IDLE, IDLE_FULL, Book


def book(most: int = 4) -> Book:
    return Book(2, lambda labels: ("other", labels[1]), most)


def test_what_finds_no_room_is_summed_and_counted() -> None:
    made = book()
    for number in range(6):
        made.add((f"w{number}", "a"), (1, number))
    assert made.copy() == {
        **{(f"w{n}", "a"): [1, n] for n in range(4)},
        ("other", "a"): [2, 9],
    }
    assert made.overflows == 2


def test_what_was_counted_is_all_there() -> None:
    draws = random.Random(1)
    for _ in range(50):
        made = book(draws.randrange(1, 20))
        total = [0, 0]
        for _ in range(200):
            numbers = (draws.randrange(5), draws.randrange(100))
            made.add((str(draws.randrange(40)), str(draws.randrange(3))), numbers)
            total = [a + b for a, b in zip(total, numbers, strict=True)]
        rows = made.copy().values()
        assert [sum(row[0] for row in rows), sum(row[1] for row in rows)] == total
        assert len(rows) <= made.most + 3


def test_what_is_gone_is_forgotten_after_a_while() -> None:
    made = book(8)
    made.add(("stays", ""), (1, 0))
    made.add(("gone", ""), (1, 0))
    assert not made.forget(0.0)
    assert not made.forget(IDLE)
    made.add(("stays", ""), (1, 0))
    assert made.forget(IDLE + 1)
    assert made.copy() == {("stays", ""): [2, 0]}


def test_room_is_made_sooner_where_there_is_little() -> None:
    made = book(4)
    for name in "abc":
        made.add((name, ""), (1, 0))
    assert not made.forget(0.0)
    assert not made.forget(IDLE_FULL)
    made.row(("c", ""))[1] += 1
    assert made.forget(IDLE_FULL + 1)
    assert list(made.rows) == [("c", "")]
    # Half empty again, it may stay for a day.
    assert not made.forget(3 * IDLE_FULL)


def test_a_row_that_comes_again_begins_anew() -> None:
    made = book()
    made.add(("a", ""), (5, 5))
    made.forget(0.0)
    assert made.forget(IDLE + 1)
    made.add(("a", ""), (1, 0))
    assert made.copy() == {("a", ""): [1, 0]}
    assert not made.forget(IDLE + 2)
