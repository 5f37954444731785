from __future__ import annotations

from waypoint.filters.jwt.status import Status


def test_numbers_and_texts_are_each_of_one() -> None:
    assert len({status.code for status in Status}) == len(Status)
    assert len({status.text for status in Status}) == len(Status)
    assert (Status.EXPIRED.code, Status.EXPIRED.text) == (3, "Jwt is expired")
