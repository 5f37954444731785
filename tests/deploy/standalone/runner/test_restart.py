"""When a process is started again."""

from __future__ import annotations

import pytest

from deploy.standalone.runner.restart import RestartDelay, restarts


def test_delays_double_up_to_a_minute() -> None:
    delays = RestartDelay()
    assert [delays.after(0.1) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_minute_of_running_starts_over() -> None:
    delays = RestartDelay()
    for _ in range(4):
        delays.after(59.9)
    assert delays.after(60) == 1
    assert delays.after(1) == 2


@pytest.mark.parametrize(
    ("policy", "status", "again"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("OnFailure", -9, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_policies(policy: str, status: int, *, again: bool) -> None:
    assert restarts(policy, status) is again
