from __future__ import annotations

from waypoint.filters.plugin.allowance import Allowance, printable


def test_so_much_at_once_and_so_much_a_second() -> None:
    allowance = Allowance(2.0, 3.0)
    assert [allowance.take(10.0) for _ in range(5)] == [True, True, True, False, False]
    assert (allowance.missed(), allowance.missed()) == (2, 0)
    assert [allowance.take(10.5) for _ in range(2)] == [True, False]
    assert [allowance.take(1000.0) for _ in range(5)] == [True, True, True, False, False]


def test_a_line_is_one_line() -> None:
    assert printable("a\n\x1b[31m\tb é") == "a\\n\\x1b[31m\\tb é"
