"""Faults from Envoy's messages: honoured, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from google.protobuf import json_format

from waypoint.errors import RouteError
from waypoint.filters.fault.decode import decode_fault
from waypoint.filters.fault.settings import Abort, Delay, Fault, Pace
from waypoint.routing.conditions import Fraction, HeaderMatch
from waypoint.routing.text import Kind, TextMatch

TEN = {"numerator": 10}
SHARE = Fraction(10, 100)


def decoded(given: dict[str, Any]) -> Fault:
    message = json_format.ParseDict(given, HTTPFault())
    return decode_fault(message.SerializeToString(), "x.")


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, Fault()),
        (
            {"delay": {"fixedDelay": "0.25s", "percentage": TEN}},
            Fault(delay=Delay(0.25, SHARE)),
        ),
        ({"delay": {"headerDelay": {}}}, Fault(delay=Delay(None, Fraction(0, 100)))),
        (
            {"abort": {"httpStatus": 503, "percentage": TEN}},
            Fault(abort=Abort(SHARE, status=503)),
        ),
        (
            {"abort": {"grpcStatus": 0, "percentage": TEN}},
            Fault(abort=Abort(SHARE, grpc=0)),
        ),
        ({"abort": {"headerAbort": {}, "percentage": TEN}}, Fault(abort=Abort(SHARE))),
        (
            {"responseRateLimit": {"fixedLimit": {"limitKbps": 2}, "percentage": TEN}},
            Fault(pace=Pace(2048, SHARE)),
        ),
        (
            {"responseRateLimit": {"headerLimit": {}, "percentage": TEN}},
            Fault(pace=Pace(None, SHARE)),
        ),
        (
            {
                "headers": [{"name": "X-A", "stringMatch": {"exact": "b"}}],
                "upstreamCluster": "c",
                "downstreamNodes": ["n"],
                "maxActiveFaults": 0,
                "disableDownstreamClusterStats": True,
                "delayPercentRuntime": "k",
            },
            Fault(
                headers=(HeaderMatch("x-a", TextMatch(Kind.EXACT, "b")),),
                cluster="c",
                nodes=frozenset({b"n"}),
                most=0,
            ),
        ),
    ],
)
def test_what_is_honoured(given: dict[str, Any], fault: Fault) -> None:
    assert decoded(given) == fault


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"filterMetadata": {"a": 1}}, "x.filter_metadata"),
        ({"delay": {}}, "x.delay.fixed_delay or header_delay is missing"),
        ({"delay": {"fixedDelay": "0s"}}, "x.delay.fixed_delay is 0 s"),
        ({"abort": {}}, "x.abort.http_status, grpc_status or header_abort is missing"),
        ({"abort": {"httpStatus": 199}}, "x.abort.http_status 199 is not in"),
        ({"responseRateLimit": {}}, "x.response_rate_limit.fixed_limit or header_limit"),
        (
            {"responseRateLimit": {"fixedLimit": {}}},
            "x.response_rate_limit.fixed_limit.limit_kbps is 0",
        ),
    ],
)
def test_what_is_not(given: dict[str, Any], told: str) -> None:
    with pytest.raises(RouteError) as error:
        decoded(given)
    assert str(error.value).startswith(told)
