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
LAYOUT_HASH = "515cb07783ba2bec"


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
    """pods: netns cookie (__u64) -> an enrolled pod. members: cgroup id (__u64) ->
    enrolled processes that have no netns of their own.
    """

    workload: int = 0  # hash of the workload's uid
    waypoint: int = 0  # hash of the waypoint service it is an endpoint of
    identity: int = 0  # hash of its SPIFFE identity's text
    namespace: int = 0  # hash of its namespace's name
    flags: int = 0  # enum pod_flag

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQQQI4x")
    SIZE: ClassVar[int] = 40

    def pack(self) -> bytes:
        """As ``struct pod``."""
        try:
            return self.FORMAT.pack(
                self.workload,
                self.waypoint,
                self.identity,
                self.namespace,
                self.flags,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct pod``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            values[2],
            values[3],
            values[4],
        )


class PodFlag(IntFlag):
    """Mirrors enum pod_flag."""

    OWN_ADDRESSES = 1  # addresses or ranges of its namespace's alone exist
    RANGES = 2  # ranges for all namespaces exist
    ACCELERATE = 4  # asks for acceleration, where the other end does too


class AddressKind(IntEnum):
    """Mirrors enum address_kind."""

    SERVICE = 1
    WORKLOAD = 2


@dataclass(frozen=True, slots=True)
class AddressKey:
    """addresses: struct address_key -> what is there."""

    address: bytes = bytes(16)
    namespace: int = 0  # hash of the only namespace that sees it; 0: every one does

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=16sQ")
    SIZE: ClassVar[int] = 24

    def pack(self) -> bytes:
        """As ``struct address_key``."""
        try:
            return self.FORMAT.pack(
                exactly(16, "address", self.address),
                self.namespace,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct address_key``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
        )


@dataclass(frozen=True, slots=True)
class RangeKey:
    """ranges, a trie of longest prefixes: struct range_key -> struct address."""

    prefix: int = 0  # bits of all below that count: RANGE_BITS_NAMESPACE and more
    namespace: int = 0
    address: bytes = bytes(16)

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=I4xQ16s")
    SIZE: ClassVar[int] = 32

    def pack(self) -> bytes:
        """As ``struct range_key``."""
        try:
            return self.FORMAT.pack(
                self.prefix,
                self.namespace,
                exactly(16, "address", self.address),
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct range_key``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            values[2],
        )


class RangeBits(IntEnum):
    """Mirrors enum range_bits."""

    NAMESPACE = 96  # pad and namespace; the address's own come on top


@dataclass(frozen=True, slots=True)
class Address:
    """Mirrors struct address."""

    name: int = 0  # hash of service key or workload uid
    waypoint: int = 0  # hash of the key of the waypoint's service
    kind: int = 0  # enum address_kind
    flags: int = 0  # enum address_flag
    affinity: int = 0  # seconds for which a client keeps its endpoint; 0: it doesn't

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQIII4x")
    SIZE: ClassVar[int] = 32

    def pack(self) -> bytes:
        """As ``struct address``."""
        try:
            return self.FORMAT.pack(
                self.name,
                self.waypoint,
                self.kind,
                self.flags,
                self.affinity,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct address``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            values[2],
            values[3],
            values[4],
        )


class AddressFlag(IntFlag):
    """Mirrors enum address_flag."""

    LOCAL = 1  # a workload of this node
    ACCELERATE = 2  # a workload that asks for acceleration
    PASSTHROUGH = 4  # a service that takes the address as called
    LEAST_CONNECTIONS = 8  # a service: TCP takes the less busy of two
    TUNNEL = 16  # a workload that TCP reaches by HBONE only


class Transport(IntEnum):
    """Mirrors enum transport."""

    TCP = 6
    UDP = 17
    MPTCP = 262


class Family(IntEnum):
    """A v4-mapped address is FAMILY_IPV4."""

    IPV4 = 4
    IPV6 = 6


@dataclass(frozen=True, slots=True)
class PortKey:
    """ports: struct port_key -> the endpoints behind a service's port, TCP and UDP
    alike: the control plane's stream has no word for the transport. Port 0 of a
    waypoint's service holds its endpoints' identity ports. Families don't mix: a
    virtual address leads to endpoints of its own family, or to none.
    """

    service: int = 0
    port: int = 0
    family: int = 0  # enum family: of the address asked for and the endpoints

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=Q2sB5x")
    SIZE: ClassVar[int] = 16

    def pack(self) -> bytes:
        """As ``struct port_key``."""
        try:
            return self.FORMAT.pack(
                self.service,
                be16("port", self.port),
                self.family,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct port_key``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            int.from_bytes(values[1], "big"),
            values[2],
        )


@dataclass(frozen=True, slots=True)
class Port:
    """Mirrors struct port."""

    generation: int = 0  # names the set in endpoints
    count: int = 0

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
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
        )


@dataclass(frozen=True, slots=True)
class EndpointKey:
    """endpoints: struct endpoint_key -> one endpoint of a set."""

    generation: int = 0
    index: int = 0

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
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
        )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A set's endpoints ascend by address and port, each once. An alias table chooses
    by weight: a random number below `keep` (of 2^32) keeps the endpoint that was
    drawn, any other takes the one at `alias`.
    """

    address: bytes = bytes(16)
    port: int = 0
    flags: int = 0  # enum address_flag: LOCAL, ACCELERATE, TUNNEL of the workload
    keep: int = 0  # 0xffffffff: always
    alias: int = 0
    workload: int = 0  # hash of the uid of the workload that it is of

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=16s2s2xIIIQ")
    SIZE: ClassVar[int] = 40

    def pack(self) -> bytes:
        """As ``struct endpoint``."""
        try:
            return self.FORMAT.pack(
                exactly(16, "address", self.address),
                be16("port", self.port),
                self.flags,
                self.keep,
                self.alias,
                self.workload,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct endpoint``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            int.from_bytes(values[1], "big"),
            values[2],
            values[3],
            values[4],
            values[5],
        )


@dataclass(frozen=True, slots=True)
class StickyKey:
    """sticky: struct sticky_key -> the endpoint that a client keeps. User space neither
    writes nor deletes: an entry is worth only what its set still has.
    """

    client: int = 0  # hash of the workload's uid; STICKY_SOCKET: socket cookie
    service: int = 0
    port: int = 0
    family: int = 0  # enum family
    kind: int = 0  # enum sticky_kind

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQ2sBB4x")
    SIZE: ClassVar[int] = 24

    def pack(self) -> bytes:
        """As ``struct sticky_key``."""
        try:
            return self.FORMAT.pack(
                self.client,
                self.service,
                be16("port", self.port),
                self.family,
                self.kind,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct sticky_key``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            int.from_bytes(values[2], "big"),
            values[3],
            values[4],
        )


class StickyKind(IntEnum):
    """Mirrors enum sticky_kind."""

    TCP = 1  # a workload's affinity
    UDP = 2  # the same, of its datagrams
    SOCKET = 3  # an unconnected UDP socket's


@dataclass(frozen=True, slots=True)
class Sticky:
    """Mirrors struct sticky."""

    address: bytes = bytes(16)
    port: int = 0
    flags: int = 0  # as the endpoint's
    generation: int = 0  # of the set that had it when it was last seen there
    workload: int = 0  # as the endpoint's
    check: int = 0  # of all of the above and the key
    used: int = 0  # bpf_ktime_get_ns() of the last use

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=16s2s2xII4xQQQ")
    SIZE: ClassVar[int] = 56

    def pack(self) -> bytes:
        """As ``struct sticky``."""
        try:
            return self.FORMAT.pack(
                exactly(16, "address", self.address),
                be16("port", self.port),
                self.flags,
                self.generation,
                self.workload,
                self.check,
                self.used,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct sticky``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            int.from_bytes(values[1], "big"),
            values[2],
            values[3],
            values[4],
            values[5],
            values[6],
        )


@dataclass(frozen=True, slots=True)
class ActiveKey:
    """active: struct active_key -> open connections of this node to an endpoint
    (__u64), where least connections are asked for. Whoever deletes a flow with
    FLOW_COUNTED takes one from its destination (far with FLOW_TUNNEL) and deletes
    what comes to 0.
    """

    address: bytes = bytes(16)
    port: int = 0

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=16s2s6x")
    SIZE: ClassVar[int] = 24

    def pack(self) -> bytes:
        """As ``struct active_key``."""
        try:
            return self.FORMAT.pack(
                exactly(16, "address", self.address),
                be16("port", self.port),
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct active_key``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            int.from_bytes(values[1], "big"),
        )


@dataclass(frozen=True, slots=True)
class ReplyKey:
    """replies: struct reply_key -> what a UDP socket called that its peer is answering.
    A connected socket's is the one at its peer's address.
    """

    cookie: int = 0  # of the socket
    address: bytes = bytes(16)
    port: int = 0

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=Q16s2s6x")
    SIZE: ClassVar[int] = 32

    def pack(self) -> bytes:
        """As ``struct reply_key``."""
        try:
            return self.FORMAT.pack(
                self.cookie,
                exactly(16, "address", self.address),
                be16("port", self.port),
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct reply_key``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            int.from_bytes(values[2], "big"),
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """Mirrors struct reply."""

    address: bytes = bytes(16)
    port: int = 0
    check: int = 0  # of all of the above and the key

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=16s2s6xQ")
    SIZE: ClassVar[int] = 32

    def pack(self) -> bytes:
        """As ``struct reply``."""
        try:
            return self.FORMAT.pack(
                exactly(16, "address", self.address),
                be16("port", self.port),
                self.check,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct reply``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            int.from_bytes(values[1], "big"),
            values[2],
        )


class DnsPort(IntEnum):
    """nameservers: struct local_address -> __u32, any. What enrolled pods ask of port
    53 there goes to DNS_PORT_LOCAL of their loopback address while a socket listens
    on it.
    """

    ASKED = 53
    LOCAL = 15053


class TunnelPort(IntEnum):
    """Where the daemon listens in each enrolled pod's network namespace."""

    OUTBOUND = 15001  # on loopback: what is redirected to it
    HBONE = 15008  # on the pod's addresses: from other nodes


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """guards: struct local_address -> what guards a local pod's address."""

    address: bytes = bytes(16)

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=16s")
    SIZE: ClassVar[int] = 16

    def pack(self) -> bytes:
        """As ``struct local_address``."""
        try:
            return self.FORMAT.pack(
                exactly(16, "address", self.address),
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct local_address``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
        )


@dataclass(frozen=True, slots=True)
class Listener:
    """listeners: struct listener -> the workload (__u64, hash of its uid) whose process
    is bound to a port of the node's own addresses. member_guards: that -> struct
    guard.
    """

    port: int = 0

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=2s6x")
    SIZE: ClassVar[int] = 8

    def pack(self) -> bytes:
        """As ``struct listener``."""
        try:
            return self.FORMAT.pack(
                be16("port", self.port),
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct listener``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            int.from_bytes(values[0], "big"),
        )


@dataclass(frozen=True, slots=True)
class Guard:
    """Mirrors struct guard."""

    workload: int = 0  # hash of the uid of the workload that is guarded
    policy: int = 0  # first chunk of its policy set; 0: no policy
    identity_port: int = 0  # where only proven flows may arrive, or 0
    flags: int = 0  # enum guard_flag

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QI2sH")
    SIZE: ClassVar[int] = 16

    def pack(self) -> bytes:
        """As ``struct guard``."""
        try:
            return self.FORMAT.pack(
                self.workload,
                self.policy,
                be16("identity_port", self.identity_port),
                self.flags,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct guard``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            int.from_bytes(values[2], "big"),
            values[3],
        )


class GuardFlag(IntFlag):
    """Mirrors enum guard_flag."""

    REFUSE = 1  # its policies aren't known: nobody may connect
    PARTED = 2  # kept for when the pod is enrolled again; nobody may, too


@dataclass(frozen=True, slots=True)
class Chunk:
    """chunks: number (__u32) -> up to 1,024 rules of a policy set. A set has as many
    chunks as it needs, numbered upwards from guard.policy. Each rule is a bit; a
    connection satisfies the rules whose bits are set in the vectors that all four of
    its properties lead to. Rules are in the order of the set's policies. Bits are
    numbered as in a little-endian number.
    """

    used: bytes = bytes(128)  # all of its rules
    deny: bytes = bytes(128)  # rules of DENY policies
    allow: bytes = bytes(128)  # rules of ALLOW policies
    dry_deny: bytes = bytes(128)  # the same of policies that are dry run
    dry_allow: bytes = bytes(128)
    other_ports: bytes = bytes(128)  # what a port without an entry satisfies
    flags: int = 0  # enum chunk_flag
    words: int = 0  # how many 64-bit words its rules take

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=128s128s128s128s128s128sII")
    SIZE: ClassVar[int] = 776

    def pack(self) -> bytes:
        """As ``struct chunk``."""
        try:
            return self.FORMAT.pack(
                exactly(128, "used", self.used),
                exactly(128, "deny", self.deny),
                exactly(128, "allow", self.allow),
                exactly(128, "dry_deny", self.dry_deny),
                exactly(128, "dry_allow", self.dry_allow),
                exactly(128, "other_ports", self.other_ports),
                self.flags,
                self.words,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct chunk``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            values[2],
            values[3],
            values[4],
            values[5],
            values[6],
            values[7],
        )


class ChunkFlag(IntFlag):
    """Mirrors enum chunk_flag."""

    IDENTITIES = 1  # some rule looks at the source's identity
    SOURCES = 2  # ... at the source's address
    DESTINATIONS = 4
    PORTS = 8
    MORE = 16  # the set goes on in the next number
    ALLOWS = 32  # the set has an ALLOW policy: one must match
    DRY = 64  # the set has policies that are dry run
    DRY_ALLOWS = 128


class RuleIndex(IntEnum):
    """Mirrors enum rule_index."""

    COUNT = 1024  # rules in a chunk
    NONE = 65535  # no rule decided


@dataclass(frozen=True, slots=True)
class Rules:
    """What a property of a connection satisfies, in the four maps that follow."""

    bits: bytes = bytes(128)

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=128s")
    SIZE: ClassVar[int] = 128

    def pack(self) -> bytes:
        """As ``struct rules``."""
        try:
            return self.FORMAT.pack(
                exactly(128, "bits", self.bits),
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct rules``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
        )


@dataclass(frozen=True, slots=True)
class IdentityRulesKey:
    """chunk_identities: struct identity_rules_key -> struct rules."""

    chunk: int = 0
    identity: int = 0  # hash of its text; 0: unauthenticated

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=I4xQ")
    SIZE: ClassVar[int] = 16

    def pack(self) -> bytes:
        """As ``struct identity_rules_key``."""
        try:
            return self.FORMAT.pack(
                self.chunk,
                self.identity,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct identity_rules_key``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
        )


@dataclass(frozen=True, slots=True)
class RangeRulesKey:
    """chunk_sources and chunk_destinations, tries of longest prefixes: struct
    range_rules_key -> struct rules.
    """

    prefix: int = 0  # bits of chunk and address that count: 32 and more
    chunk: int = 0
    address: bytes = bytes(16)

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=II16s")
    SIZE: ClassVar[int] = 24

    def pack(self) -> bytes:
        """As ``struct range_rules_key``."""
        try:
            return self.FORMAT.pack(
                self.prefix,
                self.chunk,
                exactly(16, "address", self.address),
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct range_rules_key``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            values[2],
        )


@dataclass(frozen=True, slots=True)
class PortRulesKey:
    """chunk_ports: struct port_rules_key -> struct rules."""

    chunk: int = 0
    port: int = 0

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=I2s2x")
    SIZE: ClassVar[int] = 8

    def pack(self) -> bytes:
        """As ``struct port_rules_key``."""
        try:
            return self.FORMAT.pack(
                self.chunk,
                be16("port", self.port),
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct port_rules_key``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            int.from_bytes(values[1], "big"),
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """hits: struct hit -> how often, per CPU."""

    chunk: int = 0
    rule: int = 0  # its index in the chunk, or RULE_INDEX_NONE
    verdict: int = 0  # enum verdict

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=IHH")
    SIZE: ClassVar[int] = 8

    def pack(self) -> bytes:
        """As ``struct hit``."""
        try:
            return self.FORMAT.pack(
                self.chunk,
                self.rule,
                self.verdict,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct hit``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            values[2],
        )


class Verdict(IntEnum):
    """Mirrors enum verdict."""

    DENIED = 1  # a DENY policy's rule matches
    NOT_ALLOWED = 2  # there are ALLOW policies, and none matches
    UNKNOWN_IDENTITY = 3  # an identity that the set doesn't know yet
    UNKNOWN_POLICY = 4  # the set isn't there, or not whole
    UNGUARDED = 5  # a guard is missing or says to refuse
    UNPROVEN = 6  # no redirected flow, at an identity port
    DRY_DENIED = 7  # passes; dry-run policies alone would refuse
    DRY_NOT_ALLOWED = 8
    DRY_ALLOWED = 9  # dry-run policies alone let it pass


@dataclass(frozen=True, slots=True)
class FlowKey:
    """flow_slots and flows: struct flow_key -> who made a connection, and what for."""

    source: bytes = bytes(16)
    destination: bytes = bytes(16)
    source_port: int = 0
    destination_port: int = 0
    netns: int = 0  # netns cookie where it is loopback or link-local, else 0

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
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            int.from_bytes(values[2], "big"),
            int.from_bytes(values[3], "big"),
            values[4],
        )


class FlowFlag(IntFlag):
    """Mirrors enum flow_flag."""

    WAYPOINT = 1  # redirected to the waypoint of its target
    SERVICE = 2  # the target is a service's port, not a workload's
    PROBE = 4  # from the cgroup that makes probes
    OUTSIDE = 8  # to an address that is not of the mesh
    ACCELERATE = 16  # both ends are of this node and ask for acceleration
    COUNTED = 32  # counted in active, for least connections
    DNS = 64  # redirected from a nameserver to the daemon
    TUNNEL = 128  # redirected to the daemon, to go on by HBONE
    TUNNELLED = 256  # made by the daemon, for a client that came by HBONE


@dataclass(frozen=True, slots=True)
class Peer:
    """The peer query's answer, getsockopt(SOL_TCP, PEER_QUERY): how a flow begins. far:
    with FLOW_TUNNEL the endpoint that was chosen, with FLOW_TUNNELLED the client;
    zeros without a tunnel.
    """

    source: int = 0  # hash of the source workload's uid; 0: unknown
    target: int = 0  # target_hash(name, port)
    original: bytes = bytes(16)  # the address that connect() was called with
    original_port: int = 0
    flags: int = 0  # enum flow_flag
    destination: int = 0  # hash of the uid of the workload connected to; 0: unknown
    far: bytes = bytes(16)
    far_port: int = 0

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQ16s2sH4xQ16s2s6x")
    SIZE: ClassVar[int] = 72

    def pack(self) -> bytes:
        """As ``struct peer``."""
        try:
            return self.FORMAT.pack(
                self.source,
                self.target,
                exactly(16, "original", self.original),
                be16("original_port", self.original_port),
                self.flags,
                self.destination,
                exactly(16, "far", self.far),
                be16("far_port", self.far_port),
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct peer``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            values[2],
            int.from_bytes(values[3], "big"),
            values[4],
            values[5],
            values[6],
            int.from_bytes(values[7], "big"),
        )


@dataclass(frozen=True, slots=True)
class Mark:
    """marks: what the daemon says of a socket of its own, by descriptor, before
    connect(). The hooks leave such a socket alone. With FLOW_TUNNELLED its SYN makes
    a flow of this; without, none. Begins like struct peer.
    """

    source: int = 0
    target: int = 0
    original: bytes = bytes(16)
    original_port: int = 0
    flags: int = 0
    destination: int = 0
    far: bytes = bytes(16)
    far_port: int = 0
    identity: int = 0  # hash of the identity that the client's certificate proves

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQ16s2sH4xQ16s2s6xQ")
    SIZE: ClassVar[int] = 80

    def pack(self) -> bytes:
        """As ``struct mark``."""
        try:
            return self.FORMAT.pack(
                self.source,
                self.target,
                exactly(16, "original", self.original),
                be16("original_port", self.original_port),
                self.flags,
                self.destination,
                exactly(16, "far", self.far),
                be16("far_port", self.far_port),
                self.identity,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct mark``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            values[2],
            int.from_bytes(values[3], "big"),
            values[4],
            values[5],
            values[6],
            int.from_bytes(values[7], "big"),
            values[8],
        )


@dataclass(frozen=True, slots=True)
class Flow:
    """Begins like struct peer."""

    source: int = 0
    target: int = 0
    original: bytes = bytes(16)
    original_port: int = 0
    flags: int = 0
    destination: int = 0
    far: bytes = bytes(16)
    far_port: int = 0
    identity: int = 0  # hash of the source's SPIFFE identity; 0: unauthenticated
    started: int = 0  # bpf_ktime_get_ns() at connect()
    established: int = 0  # and when it succeeded, or 0
    netns: int = 0  # cookie of the client's namespace
    received: int = 0  # TCP's count at FIN_WAIT2, for telemetry.h

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQ16s2sH4xQ16s2s6xQQQQQ")
    SIZE: ClassVar[int] = 112

    def pack(self) -> bytes:
        """As ``struct flow``."""
        try:
            return self.FORMAT.pack(
                self.source,
                self.target,
                exactly(16, "original", self.original),
                be16("original_port", self.original_port),
                self.flags,
                self.destination,
                exactly(16, "far", self.far),
                be16("far_port", self.far_port),
                self.identity,
                self.started,
                self.established,
                self.netns,
                self.received,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct flow``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            values[2],
            int.from_bytes(values[3], "big"),
            values[4],
            values[5],
            values[6],
            int.from_bytes(values[7], "big"),
            values[8],
            values[9],
            values[10],
            values[11],
            values[12],
        )


class FlowRequest(IntEnum):
    """What user space has the program flow_request do with a flow. Its packet: one of
    these (__u32), padding (__u32), struct flow_key, struct flow. It returns whether
    it did it. None of that ever changes but the two structs: other versions are
    asked, too.
    """

    GET = 1  # the packet's flow is the one found, then
    PUT = 2  # in place of the one that is there
    DELETE = 3  # with what goes with it
    FORGET = 4  # without: it ended elsewhere


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
    REFUSED_UNGUARDED = 9  # a guard is missing or says to refuse
    UDP_SERVICE = 10  # connects, and datagrams of unconnected sockets
    UDP_DIRECT = 11  # the same, to workloads
    DNS_REDIRECTED = 12
    UDP_UNAUTHORIZED = 13  # datagrams that evade policies
    HITS_LOST = 14  # a denial or trial that hits had no room for
    EVENT_LOST = 15  # the ring of events was full
    TRAFFIC_FULL = 16  # accounted without labels
    ACCELERATED = 17  # connections whose ends were both put in the map
    ACCELERATE_FULL = 18  # an end that didn't fit
    LISTENERS_FULL = 19  # a bound port is unguarded: its bind is refused
    CONNECT_TUNNEL = 20  # led to the daemon; counted above, too
    FLOW_IN_THE_WAY = 21  # no flow: another pod's has its tuple


@dataclass(frozen=True, slots=True)
class TrafficKey:
    """traffic: per-CPU hash, struct traffic_key -> sums of the connections that have it
    in common. The key of zeros takes what finds no room.
    """

    source: int = 0  # hash of the source workload's uid; 0: not of this node
    target: int = 0  # target_hash(name, port), or 0
    destination: int = 0  # hash of the destination workload's uid; 0: unknown
    flags: int = 0  # enum flow_flag: WAYPOINT, SERVICE, PROBE, OUTSIDE

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQQI4x")
    SIZE: ClassVar[int] = 32

    def pack(self) -> bytes:
        """As ``struct traffic_key``."""
        try:
            return self.FORMAT.pack(
                self.source,
                self.target,
                self.destination,
                self.flags,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct traffic_key``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            values[2],
            values[3],
        )


@dataclass(frozen=True, slots=True)
class Traffic:
    """Sent is what clients sent. Each connection is in it once, at either end."""

    opened: int = 0  # established
    closed: int = 0  # of those, ended
    failed: int = 0  # never established, and refused by a hook
    denied: int = 0  # by the destination's policy
    sent: int = 0  # bytes that were acknowledged, of closed connections
    received: int = 0  # bytes, of closed connections
    latency: int = 0  # ns from connect() to established, of opened ones
    round_trip: int = 0  # smoothed, us, summed at close
    retransmits: int = 0  # segments sent again, of closed and failed ones

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQQQQQQQQ")
    SIZE: ClassVar[int] = 72

    def pack(self) -> bytes:
        """As ``struct traffic``."""
        try:
            return self.FORMAT.pack(
                self.opened,
                self.closed,
                self.failed,
                self.denied,
                self.sent,
                self.received,
                self.latency,
                self.round_trip,
                self.retransmits,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct traffic``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            values[2],
            values[3],
            values[4],
            values[5],
            values[6],
            values[7],
            values[8],
        )


class EventClass(IntEnum):
    """limits: per-CPU array, enum event_class -> how many events a window may have."""

    CLOSED = 0
    FAILED = 1
    DENIED = 2


@dataclass(frozen=True, slots=True)
class EventLimit:
    """Mirrors struct event_limit."""

    window: int = 0  # 2^27 ns each
    suppressed: int = 0  # events not made, because a window had enough
    used: int = 0  # events of this window
    most: int = 0  # in a window, on each CPU; user space sets it

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQII")
    SIZE: ClassVar[int] = 24

    def pack(self) -> bytes:
        """As ``struct event_limit``."""
        try:
            return self.FORMAT.pack(
                self.window,
                self.suppressed,
                self.used,
                self.most,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct event_limit``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            values[2],
            values[3],
        )


class EventKind(IntEnum):
    """Mirrors enum event_kind."""

    CLOSED = 1
    FAILED = 2  # a connect that got no connection
    REFUSED = 3  # a connect that led nowhere
    DENIED = 4  # by policy, at the SYN
    DRY_RUN = 5  # would be denied, were the policy enforced


class EventReason(IntEnum):
    """Why there is no connection. Append only."""

    NONE = 0
    RESET = 1  # the destination refused it
    TIMED_OUT = 2  # nothing answered
    ABORTED = 3  # the client gave up, or had no route
    NO_PORT = 4
    NO_ENDPOINT = 5
    NO_WAYPOINT = 6


@dataclass(frozen=True, slots=True)
class Event:
    """events: ring buffer. Times: bpf_ktime_get_ns(), 0: it didn't come to that."""

    kind: int = 0  # enum event_kind
    reason: int = 0  # enum event_reason; in EVENT_DENIED and DRY_RUN enum verdict
    source: int = 0
    target: int = 0
    destination: int = 0
    identity: int = 0
    source_address: bytes = bytes(16)  # zeros in EVENT_REFUSED: there is no socket's yet
    destination_address: bytes = bytes(16)
    original: bytes = bytes(16)
    source_port: int = 0
    destination_port: int = 0
    original_port: int = 0
    flags: int = 0  # enum flow_flag
    started: int = 0
    established: int = 0
    ended: int = 0
    sent: int = 0
    received: int = 0
    round_trip: int = 0  # us
    retransmits: int = 0
    policy: int = 0  # chunk and rule that decided, in EVENT_DENIED and DRY_RUN
    rule: int = 0

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=IIQQQQ16s16s16s2s2s2sHQQQQQIIII")
    SIZE: ClassVar[int] = 152

    def pack(self) -> bytes:
        """As ``struct event``."""
        try:
            return self.FORMAT.pack(
                self.kind,
                self.reason,
                self.source,
                self.target,
                self.destination,
                self.identity,
                exactly(16, "source_address", self.source_address),
                exactly(16, "destination_address", self.destination_address),
                exactly(16, "original", self.original),
                be16("source_port", self.source_port),
                be16("destination_port", self.destination_port),
                be16("original_port", self.original_port),
                self.flags,
                self.started,
                self.established,
                self.ended,
                self.sent,
                self.received,
                self.round_trip,
                self.retransmits,
                self.policy,
                self.rule,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct event``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
            values[2],
            values[3],
            values[4],
            values[5],
            values[6],
            values[7],
            values[8],
            int.from_bytes(values[9], "big"),
            int.from_bytes(values[10], "big"),
            int.from_bytes(values[11], "big"),
            values[12],
            values[13],
            values[14],
            values[15],
            values[16],
            values[17],
            values[18],
            values[19],
            values[20],
            values[21],
        )


@dataclass(frozen=True, slots=True)
class Visit:
    """visits: what an accepted socket without a flow carries."""

    started: int = 0  # when it was accepted
    received: int = 0  # like flow.received

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=QQ")
    SIZE: ClassVar[int] = 16

    def pack(self) -> bytes:
        """As ``struct visit``."""
        try:
            return self.FORMAT.pack(
                self.started,
                self.received,
            )
        except struct.error as error:
            raise LayoutError(f"{self}: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From ``struct visit``; LayoutError for another length."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")
        values = cls.FORMAT.unpack(raw)
        return cls(
            values[0],
            values[1],
        )
