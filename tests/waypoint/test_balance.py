from __future__ import annotations

import random
from collections import Counter

from waypoint.balance import Balance, balanced


def test_equal_weights() -> None:
    balance = balanced([("a", 2), ("b", 2)])
    assert balance.bounds is None
    assert (balance.pick(0.0), balance.pick(0.49), balance.pick(0.5)) == ("a", "a", "b")
    assert balance.pick(1 - 2**-53) == "b"


def test_weights() -> None:
    balance = balanced([("a", 1), ("none", 0), ("b", 3)])
    draw = random.Random(1)
    counts = Counter(balance.pick(draw.random()) for _ in range(8000))
    assert set(counts) == {"a", "b"}
    assert abs(counts["a"] - 2000) < 150
    assert balance.pick(1 - 2**-53) == "b"


def test_what_was_tried_is_left_out() -> None:
    for weights in ([1, 1, 1], [1, 5, 2]):
        balance = balanced(list(zip("abc", weights, strict=True)))
        for drawn in (0.0, 0.3, 0.6, 0.9):
            assert balance.pick(drawn, ("a", "c")) == "b"
            assert balance.pick(drawn, ("a",)) in {"b", "c"}
        assert balance.pick(0.5, ("a", "b", "c")) is None


def test_weights_stay_when_some_are_left_out() -> None:
    rest = balanced([("a", 1), ("b", 5), ("c", 2)]).without(("a",))
    assert rest == Balance(("b", "c"), (5, 7))


def test_nobody() -> None:
    assert balanced([]).pick(0.5) is None
    assert balanced([("a", 0)]).pick(0.5) is None
