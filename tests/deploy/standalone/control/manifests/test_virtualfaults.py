from __future__ import annotations

import pytest

from deploy.standalone.control.routing import Fault
from deploy.standalone.control.trafficapi import VirtualService
from tests.deploy.standalone.control.helpers import complaints, istio, one

#: An abort that tells gRPC callers that all is well.
NOTHING = "abort: {grpcStatus: OK, percentage: {value: 2}}"


def text(fault: str) -> str:
    route = "route: [{destination: {host: web}}]"
    spec = f"hosts: [web]\nhttp: [{{{route}, fault: {fault}}}]"
    return istio("networking", "VirtualService", "web", spec, "shop", "")


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            "{delay: {fixedDelay: 0.25s, percentage: {value: 0.1}}}",
            Fault(delay=0.25, delayed=1000),
        ),
        ("{delay: {fixedDelay: 7s, percent: 10}}", Fault(delay=7.0, delayed=100_000)),
        (
            "{abort: {httpStatus: 500, percentage: {value: 100}}}",
            Fault(status=500, aborted=1_000_000),
        ),
        (
            "{abort: {grpcStatus: UNAVAILABLE, percentage: {value: 50}}}",
            Fault(grpc=14, aborted=500_000),
        ),
        (
            f"{{delay: {{fixedDelay: 1s, percent: 1}}, {NOTHING}}}",
            Fault(1.0, 10_000, 0, 0, 20_000),
        ),
    ],
)
def test_faults(given: str, fault: Fault) -> None:
    service = one(text(given))
    assert isinstance(service, VirtualService)
    assert service.http[0].fault == fault


@pytest.mark.parametrize(
    ("given", "field", "message"),
    [
        ("{}", "", "needs delay or abort"),
        ("{delay: {percentage: {value: 1}}}", ".delay.fixedDelay", "missing: say for how"),
        (
            "{delay: {exponentialDelay: 1s, fixedDelay: 1s, percent: 1}}",
            ".delay.exponentialDelay",
            "not supported: give fixedDelay",
        ),
        ("{abort: {percentage: {value: 1}}}", ".abort", "give one of httpStatus, grpcStatus"),
        (
            "{abort: {httpStatus: 500, grpcStatus: OK, percentage: {value: 1}}}",
            ".abort",
            "give one of httpStatus, grpcStatus",
        ),
        (
            "{abort: {httpStatus: 199, percentage: {value: 1}}}",
            ".abort.httpStatus",
            "199 is not from",
        ),
        (
            "{abort: {grpcStatus: SAD, percentage: {value: 1}}}",
            ".abort.grpcStatus",
            "'SAD' is none of OK, CANCELLED",
        ),
        (
            "{abort: {http2Error: x, percentage: {value: 1}}}",
            ".abort.http2Error",
            "not supported: give httpStatus",
        ),
        (
            "{abort: {httpStatus: 500, percentage: {value: 101}}}",
            ".abort.percentage.value",
            "101 is not from",
        ),
        ("{abort: {httpStatus: 500}}", ".abort.percentage", "missing, so nothing is injected"),
    ],
)
def test_what_is_wrong_is_named(given: str, field: str, message: str) -> None:
    found = complaints(text(given))
    assert [where for _, where, _ in found] == [f"spec.http[0].fault{field}"]
    assert found[0][2].startswith(message)
