"""The parts that workloads and services are made of, from protobuf to the model.

Each function raises ResourceError naming the field, given as text, and the value.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from functools import cache
from typing import Any, TypeVar

from proto import workload_pb2
from ztunnel_compat.errors import ResourceError
from ztunnel_compat.model import (
    AppProtocol,
    Extension,
    GatewayAddress,
    NamespacedHostname,
    NetworkAddress,
    ServicePort,
)

E = TypeVar("E", bound=IntEnum)
V4_MAPPED = bytes(10) + b"\xff\xff"
HBONE_PORT = 15008


def gateway(field: str, message: workload_pb2.GatewayAddress) -> GatewayAddress:
    """Decode a reference to a gateway."""
    destination: NamespacedHostname | NetworkAddress
    kind = message.WhichOneof("destination")
    if kind == "hostname":
        if not message.hostname.hostname:
            raise ResourceError(f"{field}.hostname: missing")
        destination = NamespacedHostname(message.hostname.namespace, message.hostname.hostname)
    elif kind == "address":
        destination = network_address(f"{field}.address", message.address)
    else:
        raise ResourceError(f"{field}: neither a hostname nor an address")
    number = message.hbone_mtls_port or HBONE_PORT
    return GatewayAddress(destination, port_number(f"{field}.hbone_mtls_port", number))


def network_address(field: str, message: workload_pb2.NetworkAddress) -> NetworkAddress:
    """Decode an address within a network, or a range."""
    address = packed(field, message.address)
    if not message.HasField("length"):
        return NetworkAddress(message.network, address)
    length = message.length
    if len(address) != len(message.address):
        length -= len(V4_MAPPED) * 8
    if not 0 <= length <= len(address) * 8:
        raise ResourceError(f"{field}.length: {message.length} is no prefix of the address")
    return NetworkAddress(message.network, address, length)


def packed(field: str, address: bytes) -> bytes:
    """An address as the model has it: 4 bytes, or 16 that aren't IPv4-mapped."""
    if len(address) not in {4, 16}:
        raise ResourceError(f"{field}: {len(address)} bytes, expected 4 or 16")
    if len(address) == 16 and address.startswith(V4_MAPPED):
        return address[len(V4_MAPPED) :]
    return address


def port_numbers(messages: Iterable[workload_pb2.Port]) -> tuple[tuple[int, int, int], ...]:
    """Port mappings as plain numbers: service port, target port, protocol."""
    return tuple([(m.service_port, m.target_port, m.app_protocol) for m in messages])


def ports(field: str, numbers: Iterable[tuple[int, int, int]]) -> tuple[ServicePort, ...]:
    """Decode port mappings; target port 0 stands for a named one."""
    mappings = []
    for service_port, target_port, protocol in numbers:
        if not service_port:
            raise ResourceError(f"{field}.service_port: missing")
        mappings.append(
            ServicePort(
                port_number(f"{field}.service_port", service_port),
                port_number(f"{field}.target_port", target_port),
                member(AppProtocol, f"{field}.app_protocol", protocol),
            )
        )
    return tuple(mappings)


def extensions(messages: Iterable[workload_pb2.Extension]) -> tuple[Extension, ...]:
    """Keep extensions as they are: only who uses one knows its type."""
    return tuple(
        Extension(message.name, message.config.type_url, message.config.value)
        for message in messages
    )


def port_number(field: str, number: int) -> int:
    """See that a number is a port, or 0."""
    if number > 0xFFFF:
        raise ResourceError(f"{field}: {number} is no port")
    return number


def member(enum: type[E], field: str, number: int) -> E:
    """An enum's member; one from the future or out of use is rejected."""
    found: E | None = members(enum).get(number)
    if found is None:
        known = ", ".join(f"{choice.name} ({choice.value})" for choice in enum)
        raise ResourceError(f"{field}: {number} is none of {known}")
    return found


@cache
def members(enum: type[E]) -> dict[int, Any]:
    """An enum's members by number: a look-up takes a quarter of a call's time."""
    return {choice.value: choice for choice in enum}
