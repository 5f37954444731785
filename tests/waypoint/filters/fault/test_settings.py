"""What of a fault a request gets."""

from __future__ import annotations

import pytest

from tests.waypoint.requests import request
from waypoint.filters.fault.settings import (
    Abort,
    Delay,
    Fault,
    Pace,
    abort_of,
    concerns,
    delay_of,
    rate_of,
)
from waypoint.routing.conditions import ALL, Fraction, HeaderMatch
from waypoint.routing.text import Kind, TextMatch

HALF = Fraction(50, 100)
TENTH = Fraction(100_000, 1_000_000)
BY_HEADER = Abort(ALL)
ABORT, GRPC = "x-envoy-fault-abort-request", "x-envoy-fault-abort-grpc-request"
HELD = "x-envoy-fault-delay-request"
SLOW = "x-envoy-fault-throughput-response"


@pytest.mark.parametrize(
    ("delay", "lines", "drawn", "seconds"),
    [
        (None, [], 0.0, 0.0),
        (Delay(2.0, HALF), [], 0.49, 2.0),
        (Delay(2.0, HALF), [], 0.5, 0.0),
        (Delay(2.0, TENTH), [], 0.0999, 2.0),
        # Fixed delays ask no header.
        (Delay(2.0, HALF), [f"{HELD}: 5", f"{HELD}-percentage: 0"], 0.0, 2.0),
        (Delay(None, ALL), [], 0.0, 0.0),
        (Delay(None, ALL), [f"{HELD}: 250"], 0.99, 0.25),
        (Delay(None, ALL), [f"{HELD}: 250", f"{HELD}: 9"], 0.0, 0.25),
        (Delay(None, ALL), [f"{HELD}: -250"], 0.0, 0.0),
        (Delay(None, ALL), [f"{HELD}: soon"], 0.0, 0.0),
        (Delay(None, ALL), [f"{HELD}: 0"], 0.0, 0.0),
        (Delay(None, ALL), [f"{HELD}: 99999999999"], 0.0, 0.0),
        # A request may ask for less than the share, never for more.
        (Delay(None, HALF), [f"{HELD}: 1000", f"{HELD}-percentage: 20"], 0.19, 1.0),
        (Delay(None, HALF), [f"{HELD}: 1000", f"{HELD}-percentage: 20"], 0.2, 0.0),
        (Delay(None, HALF), [f"{HELD}: 1000", f"{HELD}-percentage: 90"], 0.5, 0.0),
        (Delay(None, HALF), [f"{HELD}: 1000", f"{HELD}-percentage: x"], 0.4, 1.0),
    ],
)
def test_delays(delay: Delay | None, lines: list[str], drawn: float, seconds: float) -> None:
    assert delay_of(Fault(delay=delay), request("/", *lines), drawn) == seconds


@pytest.mark.parametrize(
    ("abort", "lines", "drawn", "status"),
    [
        (None, [], 0.0, None),
        (Abort(HALF, status=503), [], 0.49, (503, None)),
        (Abort(HALF, status=503), [], 0.5, None),
        (Abort(ALL, grpc=14), [], 0.9, (200, 14)),
        (Abort(ALL, grpc=0), [], 0.9, (200, 0)),
        (Abort(ALL, status=503), [f"{ABORT}: 404"], 0.0, (503, None)),
        (BY_HEADER, [], 0.0, None),
        (BY_HEADER, [f"{ABORT}: 404"], 0.99, (404, None)),
        (BY_HEADER, [f"{ABORT}: 199"], 0.0, None),
        (BY_HEADER, [f"{ABORT}: 600"], 0.0, None),
        (BY_HEADER, [f"{ABORT}: 599"], 0.0, (599, None)),
        (BY_HEADER, [f"{GRPC}: 5"], 0.0, (200, 5)),
        (BY_HEADER, [f"{GRPC}: 5", f"{ABORT}: 404"], 0.0, (404, None)),
        (BY_HEADER, [f"{GRPC}: 5", f"{ABORT}: 99"], 0.0, (200, 5)),
        (Abort(HALF), [f"{ABORT}: 404", f"{ABORT}-percentage: 10"], 0.1, None),
        (Abort(HALF), [f"{ABORT}: 404", f"{ABORT}-percentage: 100"], 0.5, None),
    ],
)
def test_aborts(
    abort: Abort | None, lines: list[str], drawn: float, status: tuple[int, int | None] | None
) -> None:
    found = abort_of(Fault(abort=abort), request("/", *lines), drawn)
    assert (None if found is None else (found.status, found.grpc)) == status
    if found is not None:
        assert (found.details, found.flags) == ("fault_filter_abort", "FI")
        assert found.counts == ("fault.aborts_injected",)


@pytest.mark.parametrize(
    ("pace", "lines", "drawn", "rate"),
    [
        (None, [], 0.0, 0),
        (Pace(2048, HALF), [f"{SLOW}: 9"], 0.49, 2048),
        (Pace(2048, HALF), [], 0.5, 0),
        (Pace(None, ALL), [f"{SLOW}: 3"], 0.0, 3072),
        (Pace(None, ALL), [f"{SLOW}: 0"], 0.0, 0),
        (Pace(None, ALL), [], 0.0, 0),
        (Pace(None, ALL), [f"{SLOW}: 3", f"{SLOW}-percentage: 0"], 0.0, 0),
    ],
)
def test_rates(pace: Pace | None, lines: list[str], drawn: float, rate: int) -> None:
    assert rate_of(Fault(pace=pace), request("/", *lines), drawn) == rate


NODE = "x-envoy-downstream-service-node"
CANARY = HeaderMatch("x-canary", TextMatch(Kind.EXACT, "1"))


@pytest.mark.parametrize(
    ("fault", "lines", "meant"),
    [
        (Fault(), [], True),
        (Fault(headers=(CANARY,)), ["x-canary: 1"], True),
        (Fault(headers=(CANARY,)), ["x-canary: 2"], False),
        (Fault(nodes=frozenset({b"a", b"b"})), [f"{NODE}: b"], True),
        (Fault(nodes=frozenset({b"a", b"b"})), [f"{NODE}: c"], False),
        (Fault(nodes=frozenset({b"a", b"b"})), [], False),
    ],
)
def test_whom_a_fault_is_for(fault: Fault, lines: list[str], meant: bool) -> None:
    assert concerns(fault, request("/", *lines)) is meant
