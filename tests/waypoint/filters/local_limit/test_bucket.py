"""Buckets on clocks of these tests' own."""

from __future__ import annotations

import random

import pytest

from waypoint.filters.local_limit.bucket import (
    SECOND,
    Bucket,
    Level,
    remaining,
    reset,
    take,
    wait,
)

TEN = Bucket(10, 10, SECOND)


def test_a_new_bucket_is_full_and_fills_evenly() -> None:
    now, full = 1000, 0
    for left in range(9, -1, -1):
        level = take(TEN, full, now, 1)
        assert (level.taken, remaining(TEN, level)) == (True, left)
        full = level.full
    assert not take(TEN, full, now + TEN.cost - 1, 1).taken
    level = take(TEN, full, now + TEN.cost, 1)
    assert level.taken
    assert remaining(TEN, level) == 0


@pytest.mark.parametrize(
    ("gone", "left", "seconds", "nanoseconds"),
    [
        (0, 10, 0, 0),
        (9, 1, 0, 0),
        (10, 0, 1, SECOND // 10),
    ],
)
def test_what_is_told_of_a_bucket(gone: int, left: int, seconds: int, nanoseconds: int) -> None:
    level = take(TEN, 0, 7, gone)
    assert remaining(TEN, level) == left
    assert reset(TEN, level) == seconds
    assert wait(TEN, level, 1) == nanoseconds


@pytest.mark.parametrize(
    ("bucket", "tokens", "taken"),
    [
        (TEN, 10, True),
        (TEN, 11, False),
        (TEN, 0, True),
        (Bucket(1, 1, 60 * SECOND), 1, True),
        # A share of a nanosecond is rounded up.
        (Bucket(3, 3, 1), 3, True),
    ],
)
def test_all_tokens_or_none(bucket: Bucket, tokens: int, taken: bool) -> None:
    level = take(bucket, 0, 5, tokens)
    assert level.taken is taken
    assert level.full == 5 + (tokens * bucket.cost if taken else 0)


def test_a_third_is_never_more_than_a_third() -> None:
    bucket = Bucket(1, 3, SECOND)
    full, given = 0, 0
    for now in range(0, SECOND, 1_000_003):
        level = take(bucket, full, now, 1)
        full = level.full
        given += level.taken
    assert given == 3


def draws(seed: int, rounds: int) -> None:
    """Random buckets and moments: never more than the size and what has filled since.

    And never less: who asks all the time gets what there is, but for roundings.
    """
    draw = random.Random(seed)
    for _ in range(rounds):
        bucket = Bucket(
            draw.randint(1, 40), draw.randint(1, 100), draw.randint(10**6, 3 * SECOND)
        )
        now, full = draw.randint(0, 10**12), draw.randint(0, 100)
        given: list[int] = []
        start = now
        for _ in range(200):
            now += draw.choice((0, 1, bucket.cost // 2, bucket.cost, 3 * bucket.cost))
            level = take(bucket, full, now, 1)
            full = level.full
            if level.taken:
                given.append(now)
            assert 0 <= remaining(bucket, level) <= bucket.size
            assert level.taken or wait(bucket, level, 1) > 0
        for first in range(0, len(given), 7):
            for last in range(first, len(given), 5):
                span = given[last] - given[first]
                most = bucket.size + span * bucket.per_fill / bucket.interval
                assert last - first + 1 <= most + 1e-9
        assert len(given) >= min(200, bucket.size + (now - start) // bucket.cost // 4)


def test_random_moments() -> None:
    draws(1, 60)


@pytest.mark.soak
def test_many_random_moments() -> None:
    draws(2, 20_000)


def test_moments_that_differ_change_nothing_that_counts() -> None:
    # Two processes read the clock one after the other, but take in the other order.
    level = take(TEN, 0, 1000, 10)
    late = take(TEN, level.full, 900, 1)
    assert late == Level(False, level.full, 900)
