"""ztunnel's access-log lines, field by field, for one event of the kernel's.

A connection between two pods of this node has two lines, as it has with ztunnel:
one for each end. An identity is shown where this node's kernel has proven it.
Facts: istio/ztunnel src/proxy/metrics.rs (access_log, log_early_deny), src/proxy.rs
(Error) and src/telemetry.rs (IstioFormat).
"""

from __future__ import annotations

import ipaddress
import json
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from bpf.addresses import V4_MAPPED
from bpf.layout import Event, EventKind, EventReason, FlowFlag, Verdict
from daemon.telemetry.names import Names
from ztunnel_compat.model import Service, Workload
from ztunnel_compat.runtime.log import CONTROL

COMPLETE: Final = "connection complete"
EARLY: Final = "connection failed"
DRY_RUN: Final = "connection would be denied"
REJECTED: Final = "connection closed due to policy rejection:"
#: Of one that no ALLOW policy matches, where there are any.
NOT_ALLOWED: Final = f"{REJECTED} allow policies exist, but none allowed"
DENIALS: Final = (EventKind.DENIED, EventKind.DRY_RUN)

#: Where struct event has the client's port, and the times and bytes: started,
#: established, ended, sent, received.
PORT_AT: Final = 88
TIMES_AT: Final = 96
TIMES: Final = struct.Struct("=QQQQQ")

#: The policy that denied, ``namespace/name``, by chunk and rule.
Resolver = Callable[[int, int], str]


def denied_by(policy: str) -> str:
    """What ztunnel says of a connection that a DENY policy matches."""
    return f"{REJECTED} explicitly denied by: {policy}"


@dataclass(frozen=True, slots=True)
class Alike:
    """What lines of connections share that differ in port, times and bytes alone.

    before, after: around the client's port; outbound, inbound: which ends are here.
    """

    before: str
    after: str
    outbound: bool
    inbound: bool

    def lines(self, port: int, lasted: int, sent: int, received: int) -> list[tuple[str, str]]:
        """The lines of one of them; lasted: nanoseconds."""
        ends = f"{self.before}{port}{self.after}"
        duration = f' duration="{lasted // 1_000_000}ms"'
        told = []
        if self.outbound:
            told.append(("info", f"{ends}{counts('outbound', sent, received)}{duration}"))
        if self.inbound:
            told.append(("info", f"{ends}{counts('inbound', received, sent)}{duration}"))
        return told


class Lines:
    """Writes events as lines; local: hashes of this node's enrolled pods."""

    def __init__(self, names: Names, local: Collection[int], policy: Resolver) -> None:
        self.names = names
        self.local = local
        self.policy = policy
        #: By what they share of an event; most events have many like them.
        self.known: dict[bytes, Alike] = {}

    def forget(self) -> None:
        """Ask for names again from now on: they may have changed."""
        self.known.clear()

    def read(self, record: bytes) -> tuple[int, list[tuple[str, str]]]:
        """When an event was, in the kernel's nanoseconds, and its lines."""
        shared = record[:PORT_AT] + record[PORT_AT + 2 : TIMES_AT]
        alike = self.known.get(shared)
        if alike is None:
            event = Event.unpack(record)
            if event.kind != EventKind.CLOSED:
                return event.ended, self.of(event)
            alike = self.known[shared] = self.alike(event)
        port = int.from_bytes(record[PORT_AT : PORT_AT + 2], "big")
        started, _, ended, sent, received = TIMES.unpack_from(record, TIMES_AT)
        return ended, alike.lines(port, ended - started, sent, received)

    def alike(self, event: Event) -> Alike:
        """What the lines of a connection that ended share with others."""
        local = event.destination in self.local
        return Alike(*self.around(event, COMPLETE), bool(event.source), local)

    def of(self, event: Event) -> list[tuple[str, str]]:
        """The lines of an event: level, and what follows the scope."""
        match event.kind:
            case EventKind.CLOSED:
                times = (event.source_port, event.ended - event.started)
                return self.alike(event).lines(*times, event.sent, event.received)
            case EventKind.REFUSED:
                return [("warn", self.refusal(event))]
            case EventKind.DENIED:
                level, message, error = "error", COMPLETE, self.denial(event)
            case EventKind.DRY_RUN:
                level, message, error = "info", DRY_RUN, self.denial(event)
            case _:
                level, message, error = "error", COMPLETE, failure(event)
        if event.kind in DENIALS:
            way = counts("inbound", event.received, event.sent)
        elif event.source:
            way = counts("outbound", event.sent, event.received)
        else:
            return []
        before, after = self.around(event, message)
        milliseconds = (event.ended - event.started) // 1_000_000
        ends = f"{before}{event.source_port}{after}"
        return [(level, f'{ends}{way} duration="{milliseconds}ms"{quoted(" error", error)}')]

    def around(self, event: Event, message: str) -> tuple[str, str]:
        """What a line says before and after the client's port."""
        source, destination = self.ends(event)
        host, port = host_text(event.destination_address), event.destination_port
        return (
            f"{message}\tsrc.addr={host_text(event.source_address)}:",
            f"{source} dst.addr={host}:{port}{destination} ",
        )

    def ends(self, event: Event) -> tuple[str, str]:
        """What there is to say of each end besides its address."""
        source = self.names.workload(event.source)
        destination = self.names.workload(event.destination)
        service = self.service(event)
        host = quoted(" dst.service", service.hostname if service else "")
        return (
            who("src", source, proven=True),
            host + who("dst", destination, proven=event.destination in self.local),
        )

    def service(self, event: Event) -> Service | None:
        """The service that was called, if one was."""
        return self.names.service(event.target) if event.flags & FlowFlag.SERVICE else None

    def denial(self, event: Event) -> str:
        """What ztunnel says of a connection that policy doesn't allow."""
        match event.reason:
            case Verdict.DENIED | Verdict.DRY_DENIED:
                return denied_by(self.policy(event.policy, event.rule))
            case Verdict.NOT_ALLOWED | Verdict.DRY_NOT_ALLOWED:
                return NOT_ALLOWED
            case Verdict.UNPROVEN:
                why = "no connection that this node redirected to a waypoint"
            case _:
                why = "its policies, or the identity of the source, aren't known yet"
        return f"{REJECTED} {why}"

    def refusal(self, event: Event) -> str:
        """ztunnel's short line, for what ended before it was a connection."""
        source, service = self.names.workload(event.source), self.service(event)
        called = f"{host_text(event.original)}:{event.original_port}"
        host = service.hostname if service else called
        match event.reason:
            case EventReason.NO_PORT:
                error = (
                    f"requested service {host}:{event.original_port} found, "
                    "but cannot resolve port"
                )
            case EventReason.NO_WAYPOINT:
                error = f"unknown waypoint: {host} has one, which has no endpoint"
            case _:
                error = f"no healthy upstream: {called}"
        # A connect that goes nowhere has no port of its own yet.
        address = source.addresses[0] if source and source.addresses else bytes(4)
        return (
            f"{EARLY}\tsrc.addr={host_text(address)}:0{who('src', source, proven=False)} "
            f"dst.addr={called}{quoted(' dst.service', service.hostname if service else '')} "
            f'direction="outbound"{quoted(" error", error)}'
        )


def counts(direction: str, sent: int, received: int) -> str:
    """Direction and bytes."""
    return f'direction="{direction}" bytes_sent={sent} bytes_recv={received}'


def who(end: str, workload: Workload | None, *, proven: bool) -> str:
    """A workload's fields; none when it isn't known."""
    if workload is None:
        return ""
    return "".join(
        (
            quoted(f" {end}.workload", workload.name),
            quoted(f" {end}.namespace", workload.namespace),
            quoted(f" {end}.identity", str(workload.identity) if proven else ""),
            quoted(f" {end}.cluster", workload.cluster_id),
        )
    )


def failure(event: Event) -> str:
    """What ztunnel says of a connection that it can't make."""
    match event.reason:
        case EventReason.RESET:
            return "connection failed: Connection refused (os error 111)"
        case EventReason.TIMED_OUT:
            return "connection failed: Connection timed out (os error 110)"
        case _:
            return "connection failed: the client gave up"


def quoted(name: str, text: str) -> str:
    """A field with its text in quotes; nothing when there is no text.

    Quotes and control characters in it are escaped: no text can pose as fields.
    """
    if not text:
        return ""
    return f"{name}={json.dumps(text, ensure_ascii=False).translate(CONTROL)}"


@lru_cache(maxsize=4096)
def host_text(packed: bytes) -> str:
    """An address, an IPv6 one in brackets; packed: 4 or 16 bytes."""
    if len(packed) == 16 and packed.startswith(V4_MAPPED):
        packed = packed[12:]
    address = ipaddress.ip_address(packed)
    return str(address) if address.version == 4 else f"[{address}]"
