from __future__ import annotations

from typing import Any

import pytest

from waypoint.resilience.health import (
    Checked,
    GrpcCheck,
    HealthCheck,
    HttpCheck,
    Result,
    TcpCheck,
)

GOOD, BAD, FATAL, TIMEOUT, NETWORK = (
    Result.GOOD, Result.BAD, Result.FATAL, Result.TIMEOUT, Result.NETWORK,
)  # fmt: skip


def settings(**more: Any) -> HealthCheck:
    return HealthCheck(GrpcCheck(), timeout=1, interval=10, **more)


@pytest.mark.parametrize(
    ("unhealthy", "healthy", "results", "states"),
    [
        # The first good result is enough, the first bad one too.
        (3, 3, [GOOD], [True]),
        (3, 3, [BAD], [False]),
        (3, 2, [BAD, GOOD, GOOD], [False, False, True]),
        (3, 1, [GOOD, BAD, NETWORK, TIMEOUT], [True, True, True, False]),
        (3, 1, [GOOD, BAD, BAD, GOOD, BAD, BAD, BAD], [True] * 6 + [False]),
        (3, 1, [GOOD, FATAL], [True, False]),
        (1, 1, [GOOD, TIMEOUT, GOOD], [True, False, True]),
        (2, 3, [GOOD, BAD, BAD, GOOD, GOOD, BAD, GOOD, GOOD, GOOD],
         [True, True, False, False, False, False, False, False, True]),
    ],
)  # fmt: skip
def test_thresholds(
    unhealthy: int, healthy: int, results: list[Result], states: list[bool]
) -> None:
    check = settings(unhealthy_threshold=unhealthy, healthy_threshold=healthy)
    checked = Checked(check, 0.0, 0.0)
    for result, state in zip(results, states, strict=True):
        checked.result(result, 0.0, 0.0, traffic=True)
        assert checked.healthy is state


def test_one_check_at_a_time() -> None:
    check = settings(initial_jitter=4)
    checked = Checked(check, 100.0, 0.5)
    assert not checked.begin(101.9)
    assert checked.begin(102.0)
    assert not checked.begin(500.0)
    checked.result(GOOD, 103.0, 0.0, traffic=True)
    assert not checked.begin(112.9)
    assert checked.begin(113.0)


EDGES = {"unhealthy_interval": 3, "unhealthy_edge_interval": 2, "healthy_edge_interval": 1}


@pytest.mark.parametrize(
    ("more", "results", "traffic", "wait"),
    [
        ({}, [GOOD], True, 10),
        ({}, [BAD], True, 10),
        (EDGES, [GOOD], True, 1),
        (EDGES, [GOOD, GOOD], True, 10),
        (EDGES, [GOOD, BAD], True, 2),
        (EDGES, [GOOD, BAD, BAD], True, 3),
        (EDGES, [GOOD, BAD], False, 60),
        ({"no_traffic": 20}, [GOOD], False, 20),
        ({"no_traffic": 20, "no_traffic_healthy": 40}, [GOOD], False, 40),
        ({"no_traffic": 20, "no_traffic_healthy": 40}, [BAD], False, 20),
        ({"interval_jitter": 4}, [GOOD], True, 12),
        ({"jitter_percent": 50}, [GOOD], True, 12.5),
    ],
)
def test_intervals(
    more: dict[str, Any], results: list[Result], traffic: bool, wait: float
) -> None:
    check = settings(**more)
    checked = Checked(check, 0.0, 0.0)
    for result in results:
        checked.result(result, 100.0, 0.5, traffic=traffic)
    assert checked.due == 100 + wait


@pytest.mark.parametrize(
    ("status", "result"), [(200, GOOD), (204, BAD), (299, BAD), (300, FATAL), (503, FATAL)]
)
def test_statuses(status: int, result: Result) -> None:
    check = HttpCheck(b"/", expected=((200, 201),), retriable=((201, 300),))
    assert check.verdict(status) is result


@pytest.mark.parametrize(
    ("receive", "received", "satisfied"),
    [
        ((), b"", True),
        ((b"PONG",), b"", False),
        ((b"PONG",), b"+PONG\r\n", True),
        ((b"a", b"b"), b"xaxb", True),
        ((b"a", b"b"), b"ba", False),
        ((b"aa", b"a"), b"aa", False),
    ],
)
def test_what_has_to_come(receive: tuple[bytes, ...], received: bytes, satisfied: bool) -> None:
    assert TcpCheck(b"", receive).satisfied(received) is satisfied
