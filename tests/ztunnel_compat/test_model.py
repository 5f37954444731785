from __future__ import annotations

import pytest

from ztunnel_compat.model import (
    GatewayAddress,
    NamespacedHostname,
    NetworkAddress,
    Service,
    ServicePort,
    Workload,
    network_of,
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


@pytest.mark.parametrize(
    ("address", "length", "network"),
    [
        ((10, 97, 255, 1), 17, (10, 97, 128, 0)),
        ((10, 97, 255, 1), 0, (0, 0, 0, 0)),
        ((10, 97, 255, 1), 32, (10, 97, 255, 1)),
        ((0xFD, *[0xFF] * 15), 7, (0xFC, *[0] * 15)),
    ],
)
def test_the_network_of_an_address(address, length, network):
    assert network_of(bytes(address), length) == bytes(network)


def test_a_range_is_more_than_one_address():
    wide = NetworkAddress("net", bytes([10, 97, 255, 1]), 16)
    assert wide.range == (bytes([10, 97, 0, 0]), 16)
    assert NetworkAddress("net", bytes(4), 32).range is None
    assert NetworkAddress("net", bytes(4)).range is None
    assert NetworkAddress("net", bytes(4), 0).range == (bytes(4), 0)
