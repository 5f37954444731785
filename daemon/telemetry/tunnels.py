"""Tunnelled connections: counted and logged here, as the kernel's are elsewhere.

The kernel leaves them out: it sees their pieces, one to the daemon and one between
the nodes, and not who is at the far end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

from bpf.layout import EventClass
from daemon.telemetry.access_log import COMPLETE, counts, host_text, quoted
from daemon.telemetry.labels import place
from daemon.telemetry.ledger import Ledger
from ztunnel_compat.identity import Identity
from ztunnel_compat.istio_labels import MUTUAL_TLS, Labels, called, identified
from ztunnel_compat.model import Service, Workload

DENY: Final = "DENY"

Address = tuple[bytes, int]


class Log(Protocol):
    """Where lines go."""

    def add(self, kind: EventClass, level: str, line: str) -> None:
        """Write a line soon, if its class has room for more."""
        ...


@dataclass(frozen=True)
class Ends:
    """Who is at both ends of a tunnelled connection; may serve many of them.

    outbound: we are at the client's end. identities: as the certificates prove them;
    None: there was none yet. Workloads: None: not known. service: what was called.
    """

    outbound: bool
    source: Workload | None
    source_identity: Identity | None
    destination: Workload | None
    destination_identity: Identity | None
    service: Service | None = None

    def labels(self) -> Labels:
        """Istio's labels; the identity of a certificate goes before a workload's."""
        return (
            "source" if self.outbound else "destination",
            *identified(self.source, self.source_identity),
            *called(self.service),
            *identified(self.destination, self.destination_identity),
            "tcp",
            MUTUAL_TLS,
            *place(self.source),
            *place(self.destination),
        )

    @cached_property
    def source_text(self) -> str:
        """The source's fields in the access log, after its address."""
        return whose("src", self.source, self.source_identity)

    @cached_property
    def destination_text(self) -> str:
        """The destination's, and the service's."""
        service = self.service.hostname if self.service is not None else ""
        return quoted(" dst.service", service) + whose(
            "dst", self.destination, self.destination_identity
        )


class Moved(Protocol):
    """What counts a connection's bytes. sent: what the client sent."""

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes from client to server, and from server to client."""
        ...


@dataclass(slots=True, eq=False)
class Live:
    """A connection that is open; counted: bytes that the ledger knows of."""

    labels: Labels
    mover: Moved
    counted: tuple[int, int] = (0, 0)


class Tunnels:
    """Takes in tunnelled connections; clock: seconds, as the ledger's."""

    def __init__(
        self, ledger: Ledger, log: Log, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.ledger = ledger
        self.log = log
        self.clock = clock
        self.open: dict[int, Live] = {}

    def opened(self, labels: Labels, mover: Moved, seconds: float) -> Live:
        """A connection came about, after so many seconds."""
        made = Live(labels, mover)
        self.open[id(made)] = made
        self.ledger.account(labels).began(int(seconds * 1e9), self.clock())
        return made

    def closed(self, live: Live) -> None:
        """It ended, one way or the other."""
        now = self.clock()
        self.open.pop(id(live), None)
        self.count(live, now)
        self.ledger.account(live.labels).ended(now)

    def failed(self, labels: Labels, flag: str) -> None:
        """A connection didn't come about."""
        self.ledger.account(labels).fail(flag, self.clock())

    def collect(self) -> None:
        """Count what open connections have moved since last time."""
        now = self.clock()
        for live in self.open.values():
            self.count(live, now)

    def count(self, live: Live, now: float) -> None:
        """Count what one has moved since last time."""
        sent, received = live.mover.moved
        before_sent, before_received = live.counted
        if (sent, received) != live.counted:
            live.counted = (sent, received)
            account = self.ledger.account(live.labels)
            account.move(sent - before_sent, received - before_received, now)

    def tell(self, line: Line) -> None:
        """Write a connection's line of the access log."""
        kind = EventClass.CLOSED
        if line.flag == DENY:
            kind = EventClass.DENIED
        elif line.flag != "-":
            kind = EventClass.FAILED
        self.log.add(kind, "error" if line.error else "info", line.text())


@dataclass(frozen=True, slots=True)
class Line:
    """An end of a connection, for the access log.

    destination: what TCP went to, or came to; target: the CONNECT's authority. moved:
    bytes from client to server, and from server to client. flag: Istio's response flag.
    """

    ends: Ends
    source: Address
    destination: Address
    target: str
    moved: tuple[int, int]
    milliseconds: int
    flag: str = "-"
    error: str = ""

    def text(self) -> str:
        """As ztunnel writes it."""
        ends, (sent, received) = self.ends, self.moved
        if not ends.outbound:
            sent, received = received, sent
        return (
            f"{COMPLETE}\tsrc.addr={place_text(self.source)}{ends.source_text}"
            f" dst.addr={place_text(self.destination)}"
            f"{f' dst.hbone_addr={self.target}' if self.target else ''}"
            f"{ends.destination_text}"
            f" {counts('outbound' if ends.outbound else 'inbound', sent, received)}"
            f' duration="{self.milliseconds}ms"{quoted(" error", self.error)}'
        )


def whose(end: str, workload: Workload | None, identity: Identity | None) -> str:
    """A workload's fields, and the identity of its certificate."""
    proven = quoted(f" {end}.identity", str(identity)) if identity is not None else ""
    if workload is None:
        return proven
    return "".join(
        (
            quoted(f" {end}.workload", workload.name),
            quoted(f" {end}.namespace", workload.namespace),
            proven,
            quoted(f" {end}.cluster", workload.cluster_id),
        )
    )


def place_text(address: Address) -> str:
    """An address and a port."""
    return f"{host_text(address[0])}:{address[1]}"
