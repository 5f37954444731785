"""A token bucket's arithmetic: pure, in nanoseconds, without rounding in its favour.

A bucket fills evenly, as Envoy's does since 1.31. Its state is the moment at which it
will be full again, so that a bucket that was left alone is the same as a new one: what
isn't remembered is full, and forgetting what is full loses nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

SECOND = 1_000_000_000
#: What a bucket may take to fill at most: moments are 64-bit numbers.
LONGEST = 100 * 365 * 24 * 3600 * SECOND


@dataclass(frozen=True, slots=True)
class Bucket:
    """size: tokens at most; per_fill: of them come in interval nanoseconds.

    cost: nanoseconds of a token, rounded up: never more than what is allowed.
    """

    size: int
    per_fill: int
    interval: int
    cost: int = field(init=False)
    window: int = field(init=False)

    def __post_init__(self) -> None:
        cost = -(-self.interval // self.per_fill)
        object.__setattr__(self, "cost", cost)
        object.__setattr__(self, "window", cost * self.size)

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.per_fill * SECOND / self.interval


class Level(NamedTuple):
    """What a request met at a bucket: whether it got its tokens, and how it is now.

    full: the moment at which the bucket is full; now: the moment of this.
    """

    taken: bool
    full: int
    now: int


def take(bucket: Bucket, full: int, now: int, tokens: int) -> Level:
    """Take tokens, all of them or none; full: the bucket's state."""
    after = max(full, now) + tokens * bucket.cost
    if after - now > bucket.window:
        return Level(False, max(full, now), now)
    return Level(True, after, now)


def remaining(bucket: Bucket, level: Level) -> int:
    """Tokens that are there."""
    return (bucket.window - (level.full - level.now)) // bucket.cost


def reset(bucket: Bucket, level: Level) -> int:
    """Seconds until there is another token, rounded up; 0 where there is one."""
    return math.ceil(wait(bucket, level, 1) / SECOND)


def wait(bucket: Bucket, level: Level, tokens: int) -> int:
    """Nanoseconds until so many tokens are there."""
    return max(0, level.full + tokens * bucket.cost - bucket.window - level.now)
