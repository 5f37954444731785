"""The kernel's structs and enums as Python sees them.

Generated from include/abi.h by bpf/generate.py: don't edit. Addresses are 16
bytes, IPv4 as v4-mapped; every number, ports too, is in host order here.
``pack`` raises LayoutError for a value that doesn't fit its field.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import ClassVar, Self

from bpf.errors import LayoutError

#: Changes when any struct or enum does.
LAYOUT_HASH = "c1789640e8544d50"


def be16(name: str, value: int) -> bytes:
    """A port in network order."""
    if not 0 <= value <= 0xFFFF:
        raise LayoutError(f"{name}={value} is no port: must be 0 to 65535")
    return value.to_bytes(2, "big")


def exactly(size: int, name: str, value: bytes) -> bytes:
    """Bytes of a fixed length."""
    if len(value) != size:
        raise LayoutError(f"{name}={value!r} has {len(value)} bytes, not {size}")
    return value


@dataclass(frozen=True, slots=True)
class Pod:
    """pods: netns cookie (__u64) -> an enrolled pod."""

    workload: int  # hash of the workload's uid
    waypoint: int  # hash of the waypoint service it is an endpoint of

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQ")
    SIZE: ClassVar[int] = 16

    def pack(self) -> bytes:
        """As ``struct pod``."""
        try:
            return self.FORMAT.pack(
                self.workload,
                self.waypoint,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct pod``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        workload, waypoint = cls.FORMAT.unpack(raw)
        return cls(
            workload,
            waypoint,
        )


class AddressKind(IntEnum):
    """Mirrors enum address_kind."""

    SERVICE = 1
    WORKLOAD = 2


@dataclass(frozen=True, slots=True)
class AddressKey:
    """addresses: struct address_key -> what is there."""

    address: bytes

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=16s")
    SIZE: ClassVar[int] = 16

    def pack(self) -> bytes:
        """As ``struct address_key``."""
        try:
            return self.FORMAT.pack(
                exactly(16, "address", self.address),
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct address_key``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        (address,) = cls.FORMAT.unpack(raw)
        return cls(
            address,
        )


@dataclass(frozen=True, slots=True)
class Address:
    """Mirrors struct address."""

    name: int  # hash of service key or workload uid
    waypoint: int  # hash of the key of the waypoint's service
    kind: int  # enum address_kind
    identity_port: int  # where only proven flows may arrive, or 0

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQI2s2x")
    SIZE: ClassVar[int] = 24

    def pack(self) -> bytes:
        """As ``struct address``."""
        try:
            return self.FORMAT.pack(
                self.name,
                self.waypoint,
                self.kind,
                be16("identity_port", self.identity_port),
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct address``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        name, waypoint, kind, identity_port = cls.FORMAT.unpack(raw)
        return cls(
            name,
            waypoint,
            kind,
            int.from_bytes(identity_port, "big"),
        )


class Transport(IntEnum):
    """Mirrors enum transport."""

    TCP = 6
    UDP = 17


class Family(IntEnum):
    """A v4-mapped address is FAMILY_IPV4."""

    IPV4 = 4
    IPV6 = 6


@dataclass(frozen=True, slots=True)
class PortKey:
    """ports: struct port_key -> the endpoints behind a service's port. Port 0 of a
    waypoint's service holds its endpoints' identity ports. Families don't mix: a
    virtual address leads to endpoints of its own family, or to none.
    """

    service: int
    port: int
    transport: int  # enum transport
    family: int  # enum family: of the address asked for and the endpoints

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=Q2sBB4x")
    SIZE: ClassVar[int] = 16

    def pack(self) -> bytes:
        """As ``struct port_key``."""
        try:
            return self.FORMAT.pack(
                self.service,
                be16("port", self.port),
                self.transport,
                self.family,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct port_key``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        service, port, transport, family = cls.FORMAT.unpack(raw)
        return cls(
            service,
            int.from_bytes(port, "big"),
            transport,
            family,
        )


@dataclass(frozen=True, slots=True)
class Port:
    """Mirrors struct port."""

    generation: int  # names the set in endpoints
    count: int

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=II")
    SIZE: ClassVar[int] = 8

    def pack(self) -> bytes:
        """As ``struct port``."""
        try:
            return self.FORMAT.pack(
                self.generation,
                self.count,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct port``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        generation, count = cls.FORMAT.unpack(raw)
        return cls(
            generation,
            count,
        )


@dataclass(frozen=True, slots=True)
class EndpointKey:
    """endpoints: struct endpoint_key -> one endpoint of a set."""

    generation: int
    index: int

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=II")
    SIZE: ClassVar[int] = 8

    def pack(self) -> bytes:
        """As ``struct endpoint_key``."""
        try:
            return self.FORMAT.pack(
                self.generation,
                self.index,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct endpoint_key``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        generation, index = cls.FORMAT.unpack(raw)
        return cls(
            generation,
            index,
        )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Mirrors struct endpoint."""

    address: bytes
    port: int

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=16s2s6x")
    SIZE: ClassVar[int] = 24

    def pack(self) -> bytes:
        """As ``struct endpoint``."""
        try:
            return self.FORMAT.pack(
                exactly(16, "address", self.address),
                be16("port", self.port),
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct endpoint``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        address, port = cls.FORMAT.unpack(raw)
        return cls(
            address,
            int.from_bytes(port, "big"),
        )


@dataclass(frozen=True, slots=True)
class FlowKey:
    """flows: struct flow_key -> who made a connection, and what for."""

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    netns: int  # netns cookie when the tuple is a loopback one, else 0

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=16s16s2s2s4xQ")
    SIZE: ClassVar[int] = 48

    def pack(self) -> bytes:
        """As ``struct flow_key``."""
        try:
            return self.FORMAT.pack(
                exactly(16, "source", self.source),
                exactly(16, "destination", self.destination),
                be16("source_port", self.source_port),
                be16("destination_port", self.destination_port),
                self.netns,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct flow_key``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        source, destination, source_port, destination_port, netns = cls.FORMAT.unpack(raw)
        return cls(
            source,
            destination,
            int.from_bytes(source_port, "big"),
            int.from_bytes(destination_port, "big"),
            netns,
        )


class FlowFlag(IntFlag):
    """Mirrors enum flow_flag."""

    WAYPOINT = 1  # redirected to the waypoint of its target
    SERVICE = 2  # the target is a service's port, not a workload's


@dataclass(frozen=True, slots=True)
class Flow:
    """Also the peer query's answer: getsockopt(SOL_TCP, PEER_QUERY)."""

    source: int  # hash of the source workload's uid
    target: int  # target_hash(name, port)
    original: bytes  # the address that connect() was called with
    original_port: int
    flags: int  # enum flow_flag

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQ16s2sH4x")
    SIZE: ClassVar[int] = 40

    def pack(self) -> bytes:
        """As ``struct flow``."""
        try:
            return self.FORMAT.pack(
                self.source,
                self.target,
                exactly(16, "original", self.original),
                be16("original_port", self.original_port),
                self.flags,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct flow``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        source, target, original, original_port, flags = cls.FORMAT.unpack(raw)
        return cls(
            source,
            target,
            original,
            int.from_bytes(original_port, "big"),
            flags,
        )


class PeerQuery(IntEnum):
    """Mirrors enum peer_query."""

    LEVEL = 6
    OPTION = 200


class Counter(IntEnum):
    """counters: per-CPU array, enum counter -> __u64. Append only."""

    CONNECT_DIRECT = 0
    CONNECT_SERVICE = 1
    CONNECT_WAYPOINT = 2
    REFUSED_NO_PORT = 3
    REFUSED_NO_ENDPOINT = 4
    REFUSED_NO_WAYPOINT = 5
    FLOW_TABLE_FULL = 6
    PENDING_LOST = 7
    REFUSED_UNPROVEN = 8
