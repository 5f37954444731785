from __future__ import annotations

import random
import uuid

from waypoint.ids import RUN, RequestIds


def test_ids_are_version_4_uuids_and_don_t_repeat() -> None:
    ids = RequestIds(random.Random(1).getrandbits)
    made = [ids.next() for _ in range(RUN + 10)]
    assert len(set(made)) == len(made)
    for text in (made[0], made[1], made[-1]):
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
    assert made[0][:24] != made[-1][:24]


def test_extremes() -> None:
    for bits in (0, -1):
        ids = RequestIds(lambda count, bits=bits: bits & (1 << count) - 1)
        parsed = uuid.UUID(ids.next())
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
