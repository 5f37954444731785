from __future__ import annotations

from waypoint.progress import ENOUGH, Mark, marked


def test_a_mark_moves_with_enough_and_not_with_less() -> None:
    mark = marked(None, 10.0, 0)
    assert mark == Mark(10.0, 0)
    assert marked(mark, 20.0, ENOUGH - 1) is mark
    assert marked(mark, 20.0, ENOUGH) == Mark(20.0, ENOUGH)


def test_what_didn_t_move_for_long_enough_is_stuck() -> None:
    mark = Mark(10.0, 5)
    assert not mark.stuck(14.9, 5.0)
    assert mark.stuck(15.0, 5.0)
