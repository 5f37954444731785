"""A forger: TCP segments written by hand, from inside a network namespace.

What a process with CAP_NET_RAW can do: it sends whatever it likes by a raw socket,
sees everything that arrives by a packet socket, and keeps its own kernel from
resetting what that kernel knows nothing of.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bpf.netns import in_netns
from tests.support.netns import Netns

FIN, SYN, RST, ACK = 1, 2, 4, 16
#: Set on forged packets alone, so that a rule can tell them from the kernel's own.
HOPS = 63
ALL = 3  # ETH_P_ALL

End = tuple[str, int]


@dataclass(frozen=True)
class Segment:
    """A TCP segment; source and destination: (address, port)."""

    source: End
    destination: End
    flags: int
    seq: int = 1
    ack: int = 0
    data: bytes = b""

    def pack(self) -> bytes:
        """As an IP packet."""
        ends = [ipaddress.ip_address(end[0]).packed for end in (self.source, self.destination)]
        bare = struct.pack(
            "!HHIIBBHHH",
            *(self.source[1], self.destination[1], self.seq, self.ack),
            *(5 << 4, self.flags, 64240, 0, 0),
        )
        tcp = bare + self.data
        pseudo = b"".join(ends) + struct.pack("!II", len(tcp), socket.IPPROTO_TCP)
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        if len(ends[0]) == 4:
            size = 20 + len(tcp)
            head = struct.pack("!BBHHHBBH", 0x45, 0, size, 1, 0, HOPS, socket.IPPROTO_TCP, 0)
        else:
            head = struct.pack("!IHBB", 6 << 28, len(tcp), socket.IPPROTO_TCP, HOPS)
        return head + b"".join(ends) + tcp

    @classmethod
    def unpack(cls, packet: bytes) -> Segment | None:
        """From an IP packet, if it holds TCP."""
        if packet[0] >> 4 == 4:
            start, kind, size = (packet[0] & 15) * 4, packet[9], 4
            ends = packet[12:20]
        else:
            start, kind, size = 40, packet[6], 16
            ends = packet[8:40]
        if kind != socket.IPPROTO_TCP or len(packet) < start + 20:
            return None
        ports = struct.unpack_from("!HHIIBB", packet, start)
        addresses = [str(ipaddress.ip_address(ends[i : i + size])) for i in (0, size)]
        return cls((addresses[0], ports[0]), (addresses[1], ports[1]), ports[5], *ports[2:4])


@dataclass(frozen=True)
class Forger:
    """Writes and reads segments in a namespace."""

    writers: dict[int, socket.socket]
    reader: socket.socket

    def send(self, segment: Segment) -> None:
        """Put a segment on the wire, whatever it claims."""
        six = ":" in segment.destination[0]
        where = (segment.destination[0], 0, 0, 0) if six else (segment.destination[0], 0)
        self.writers[socket.AF_INET6 if six else socket.AF_INET].sendto(segment.pack(), where)

    def answer(self, sent: Segment, seconds: float = 5) -> Segment | None:
        """What comes back for a segment; None if nothing does within seconds."""
        deadline = time.monotonic() + seconds
        while select.select([self.reader], [], [], max(0, deadline - time.monotonic()))[0]:
            packet, (_, _, kind, *_) = self.reader.recvfrom(2048)
            if kind == socket.PACKET_OUTGOING:
                continue
            found = Segment.unpack(packet)
            if found and (found.source, found.destination) == (sent.destination, sent.source):
                return found
        return None

    def heard(self, destination: End, seconds: float = 5) -> Segment:
        """The first segment that arrives for an end."""
        deadline = time.monotonic() + seconds
        while select.select([self.reader], [], [], max(0, deadline - time.monotonic()))[0]:
            found = Segment.unpack(self.reader.recv(2048))
            if found and found.destination == destination:
                return found
        raise AssertionError(f"nothing for {destination}")

    def last_sent(self, source: End, destination: End) -> Segment:
        """The last segment that left between these ends, of those not looked at yet."""
        found = None
        while select.select([self.reader], [], [], 0)[0]:
            segment = Segment.unpack(self.reader.recv(2048))
            if segment and (segment.source, segment.destination) == (source, destination):
                found = segment
        assert found is not None
        return found

    def connect(self, source: End, destination: End, seq: int = 1000) -> bool:
        """A whole handshake by hand; whether the other end agreed."""
        first = Segment(source, destination, SYN, seq)
        self.send(first)
        answer = self.answer(first)
        if answer is None or answer.flags != SYN | ACK:
            return False
        self.send(Segment(source, destination, ACK, first.seq + 1, answer.seq + 1))
        return True


@contextlib.contextmanager
def forger(netns: Netns, *, resets: bool = False, device: str = "eth0") -> Iterator[Forger]:
    """A forger in a namespace whose own kernel sends no resets meanwhile, or does."""
    with contextlib.ExitStack() as stack:
        if not resets:
            stack.enter_context(silenced(netns, "forger", "tcp flags & rst == rst"))
        writers = {
            family: stack.enter_context(
                netns.open_socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            )
            for family in (socket.AF_INET, socket.AF_INET6)
        }
        with in_netns(netns.fd):
            reader = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL))
            stack.enter_context(reader)
            reader.bind((device, ALL))
        yield Forger(writers, reader)


@contextlib.contextmanager
def silenced(netns: Netns, table: str, *matches: str) -> Iterator[None]:
    """A namespace that sends nothing that matches; table: a name for the rules."""
    rules = [
        f"add table inet {table}",
        f"add chain inet {table} out {{ type filter hook output priority 0; }}",
        *(f"add rule inet {table} out {match} drop" for match in matches),
    ]
    netns.run(["nft", "; ".join(rules)])
    try:
        yield
    finally:
        netns.run(["nft", f"delete table inet {table}"])


def half_open(netns: Netns) -> int:
    """How many connections of a namespace wait for a handshake's last word."""
    with in_netns(netns.fd):
        tables = [Path(f"/proc/thread-self/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return sum(row[3] == "03" for row in rows)  # TCP_SYN_RECV


def checksum(data: bytes) -> int:
    """The Internet checksum, RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total
