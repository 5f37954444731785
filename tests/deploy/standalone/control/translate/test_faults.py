"""What VirtualServices' faults become: in their routes, and a filter on those ports."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as pb,
)
from google.protobuf import json_format

from deploy.standalone.control.routing import Fault
from deploy.standalone.control.translate.faults import FAULT_FILTER, http_fault
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    Mesh,
    deployment,
    istio,
    service,
)

MILLION = "MILLION"


@pytest.mark.parametrize(
    ("fault", "made"),
    [
        (
            Fault(delay=0.25, delayed=1000),
            {
                "delay": {
                    "fixedDelay": "0.250s",
                    "percentage": {"numerator": 1000, "denominator": MILLION},
                }
            },
        ),
        (
            Fault(status=500, aborted=1_000_000),
            {
                "abort": {
                    "httpStatus": 500,
                    "percentage": {"numerator": 1_000_000, "denominator": MILLION},
                }
            },
        ),
        (
            Fault(grpc=0, aborted=1),
            {
                "abort": {
                    "grpcStatus": 0,
                    "percentage": {"numerator": 1, "denominator": MILLION},
                }
            },
        ),
    ],
)
def test_messages(fault: Fault, made: dict[str, Any]) -> None:
    assert json_format.MessageToDict(http_fault(fault)) == made


def carried(mesh: Mesh, kind: str, message: Any, of: str) -> Any:
    for extension in mesh.service(of).extensions:
        if extension.name.startswith(f"inbound-vip|80|{kind}|"):
            extension.config.Unpack(message)
    return message


def test_a_route_carries_its_fault_and_its_port_the_filter() -> None:
    spec = """
hosts: [web]
http:
- match: [{uri: {prefix: /a}}]
  fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
  route: [{destination: {host: web}}]
- redirect: {uri: /b}
  fault: {delay: {fixedDelay: 2s, percentage: {value: 50}}}
"""
    plain = "hosts: [api]\nhttp: [{route: [{destination: {host: api}}]}]"
    mesh = Mesh(
        AMBIENT, GATEWAY, service("web"), service("api"), deployment("web"),
        istio("networking", "VirtualService", "web", spec, "shop", ""),
        istio("networking", "VirtualService", "api", plain, "shop", ""),
    )  # fmt: skip
    table = carried(mesh, "http", RouteConfiguration(), "web")
    faults = []
    for route in table.virtual_hosts[0].routes:
        fault = HTTPFault()
        assert route.typed_per_filter_config[FAULT_FILTER].Unpack(fault)
        faults.append(fault)
    assert faults[0].abort.http_status == 418
    assert faults[1].delay.fixed_delay.seconds == 2
    (filtered,) = carried(mesh, "filters", pb.HttpConnectionManager(), "web").http_filters
    assert filtered.name == FAULT_FILTER
    assert filtered.typed_config.Is(HTTPFault.DESCRIPTOR)
    assert not carried(mesh, "filters", pb.HttpConnectionManager(), "api").http_filters


@pytest.mark.parametrize("apply_to", ["HTTP_ROUTE", "VIRTUAL_HOST", "ROUTE_CONFIGURATION"])
def test_faults_of_envoy_filters_get_the_filter_too(apply_to: str) -> None:
    kind = HTTPFault.DESCRIPTOR.full_name
    fault = f'{{"@type": type.googleapis.com/{kind}, abort: {{http_status: 500}}}}'
    spec = f"""
targetRefs: [{{group: "", kind: Service, name: web}}]
configPatches:
- applyTo: {apply_to}
  patch: {{operation: MERGE, value: {{typed_per_filter_config: {{{FAULT_FILTER}: {fault}}}}}}}
"""
    patch = istio("networking", "EnvoyFilter", "f", spec, "shop", "")
    mesh = Mesh(
        AMBIENT, GATEWAY, service("web"), deployment("web"),
        patch.replace("istio.io/v1\n", "istio.io/v1alpha3\n"),
    )  # fmt: skip
    (filtered,) = carried(mesh, "filters", pb.HttpConnectionManager(), "web").http_filters
    assert filtered.name == FAULT_FILTER
