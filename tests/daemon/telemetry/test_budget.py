from __future__ import annotations

from daemon.telemetry.budget import Budget


def test_a_seconds_worth_at_once_and_then_the_rate() -> None:
    budget = Budget(10)
    assert all(budget.spend(2, 100.0) for _ in range(5))
    assert not budget.spend(2, 100.0)
    assert budget.refused == 2
    assert budget.spend(2, 100.2)
    assert not budget.spend(1, 100.2)
    assert budget.refused == 3


def test_what_nobody_spends_does_not_pile_up() -> None:
    budget = Budget(10)
    assert budget.spend(10, 100.0)
    assert budget.spend(10, 1000.0)
    assert not budget.spend(1, 1000.0)


def test_none_at_rate_0() -> None:
    budget = Budget(0)
    assert not budget.spend(1, 5.0)
    assert budget.refused == 1


def test_a_clock_that_stands_still_gives_nothing() -> None:
    budget = Budget(1)
    assert budget.spend(1, 7.0)
    assert not budget.spend(1, 6.0)
