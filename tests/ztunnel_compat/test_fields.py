from __future__ import annotations

import pytest

from proto import workload_pb2
from ztunnel_compat.errors import ResourceError
from ztunnel_compat.fields import (
    gateway,
    member,
    network_address,
    packed,
    port_number,
    port_numbers,
    ports,
)
from ztunnel_compat.model import AppProtocol, ServicePort, TunnelProtocol


@pytest.mark.parametrize("length", [*range(4), *range(5, 16), 17])
def test_an_address_has_4_or_16_bytes(length):
    with pytest.raises(ResourceError, match=rf"^here: {length} bytes, expected 4 or 16$"):
        packed("here", bytes(length))


def test_only_the_mapped_prefix_makes_an_address_ipv4():
    compatible = bytes(12) + b"\x0a\x00\x00\x01"
    assert packed("here", compatible) == compatible
    assert packed("here", bytes(10) + b"\xff\xff\x0a\x00\x00\x01") == b"\x0a\x00\x00\x01"


def test_a_prefix_of_length_0_is_not_an_absent_one():
    any_address = workload_pb2.NetworkAddress(address=bytes(4), length=0)
    assert network_address("here", any_address).length == 0
    assert network_address("here", workload_pb2.NetworkAddress(address=bytes(4))).length is None


@pytest.mark.parametrize(("said", "used"), [(0, 15008), (443, 443), (65_535, 65_535)])
def test_a_gateways_port_is_hbones_unless_said(said, used):
    message = workload_pb2.GatewayAddress(
        hostname=workload_pb2.NamespacedHostname(namespace="ns", hostname="h"),
        hbone_mtls_port=said,
    )
    assert gateway("here", message).hbone_mtls_port == used


def test_ports_and_members_are_named_in_errors():
    assert port_number("here", 65_535) == 65_535
    with pytest.raises(ResourceError, match=r"^here: 65536 is no port$"):
        port_number("here", 65_536)
    assert member(TunnelProtocol, "here", 1) is TunnelProtocol.HBONE
    with pytest.raises(ResourceError, match=r"^here: 3 is none of NONE \(0\), HBONE \(1\)$"):
        member(TunnelProtocol, "here", 3)


def test_port_mappings_are_numbers_first():
    numbers = port_numbers([workload_pb2.Port(service_port=80, app_protocol=1)])
    assert numbers == ((80, 0, 1),)
    assert ports("here", numbers) == (ServicePort(80, 0, AppProtocol.HTTP11),)
    with pytest.raises(ResourceError, match=r"^here.service_port: missing$"):
        ports("here", ((0, 80, 0),))
