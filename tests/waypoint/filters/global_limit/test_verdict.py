"""What clients are told of limits, in tables."""

from __future__ import annotations

import pytest

from waypoint.filters.global_limit.settings import Status
from waypoint.filters.global_limit.verdict import limit_fields, retry_after

MINUTE = Status(True, 5, 60, "m", 0, 29.2)
SECOND = Status(True, 9, 1, "", 3, 0.4)


@pytest.mark.parametrize(
    ("statuses", "seconds"),
    [
        ((), None),
        ((MINUTE,), b"30"),
        ((SECOND, MINUTE), b"30"),
        ((SECOND, MINUTE._replace(over=False)), b"1"),
        ((MINUTE._replace(reset=0),), None),
    ],
)
def test_when_to_come_again(statuses: tuple[Status, ...], seconds: bytes | None) -> None:
    expected = () if seconds is None else ((b"retry-after", seconds),)
    assert retry_after(statuses) == expected


@pytest.mark.parametrize(
    ("statuses", "limit", "remaining", "reset"),
    [
        ((MINUTE,), b'5, 5;w=60;name="m"', b"0", b"29"),
        ((SECOND,), b"9, 9;w=1", b"3", b"0"),
        ((SECOND, MINUTE), b'5, 9;w=1, 5;w=60;name="m"', b"0", b"29"),
        ((SECOND._replace(window=0), Status(False)), b"9", b"3", b"0"),
    ],
)
def test_what_is_left(
    statuses: tuple[Status, ...], limit: bytes, remaining: bytes, reset: bytes
) -> None:
    assert dict(limit_fields(statuses)) == {
        b"x-ratelimit-limit": limit,
        b"x-ratelimit-remaining": remaining,
        b"x-ratelimit-reset": reset,
    }
    assert limit_fields((Status(True),)) == ()
