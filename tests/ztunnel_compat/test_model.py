from __future__ import annotations

import pytest

from ztunnel_compat.model import (
    GatewayAddress,
    NamespacedHostname,
    NetworkAddress,
    Service,
    ServicePort,
    Workload,
)

SERVICE = Service("web", "ns", "web.local", ports=(ServicePort(80, 8080), ServicePort(81, 0)))


@pytest.mark.parametrize(
    ("mapping", "port", "target"),
    [
        ((), 80, 8080),
        ((ServicePort(80, 9090),), 80, 9090),
        ((ServicePort(80, 0),), 80, 8080),
        ((ServicePort(81, 9091),), 81, 9091),
        ((), 81, None),
        ((), 82, None),
        ((ServicePort(82, 9092),), 82, 9092),
    ],
)
def test_target_port_is_the_workloads_then_the_services(mapping, port, target):
    workload = Workload("uid", services={SERVICE.key: mapping})
    assert workload.target_port(SERVICE, port) == target


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (NetworkAddress("", b"\x0a\x00\x00\x01"), "/10.0.0.1"),
        (NetworkAddress("net", bytes(15) + b"\x01"), "net/::1"),
        (NetworkAddress("", b"\x0a\x00\x00\x00", 8), "/10.0.0.0/8"),
        (GatewayAddress(NamespacedHostname("ns", "waypoint.local")), "ns/waypoint.local"),
        (GatewayAddress(NetworkAddress("", b"\x0a\x00\x00\x01")), "/10.0.0.1"),
    ],
)
def test_addresses_read_as_istio_names_them(value, text):
    assert str(value) == text
