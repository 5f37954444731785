from __future__ import annotations

from waypoint.memory import keep_buffers


def test_the_c_library_takes_it() -> None:
    assert keep_buffers()
