"""DNS messages (RFC 1035, RFC 6891): what is asked, and answers as bytes.

Answers are written here, because records of one size allow their order to be
changed without writing the message anew.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from daemon.dns.answers import Found

HEADER: Final = struct.Struct("!HHHHHH")
HEAD: Final = 12
#: Seconds that an answer holds, as ztunnel has it (src/dns/server.rs).
TTL: Final = 30
#: Bytes of an address, by the type of the record that holds it.
SIZES: Final[Mapping[int, int]] = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 16}
#: What fits into a datagram: without EDNS; with it, the most that we say we take.
PLAIN_UDP: Final = 512
MAX_UDP: Final = 4096
MAX_TCP: Final = 65535

QR, AA, TC, RD, RA, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
OPCODE: Final = 0x7800
RCODE: Final = 0x000F
DO: Final = 0x8000
BADVERS: Final = 16

#: A label that can be part of a hostname, of a SRV record's or a wildcard's name.
#: One with a dot in it would look like two.
LABEL: Final = re.compile(rb"[a-z0-9_*-]+")
COMMON: Final = frozenset(
    {"a", "aaaa", "any", "caa", "cname", "https", "mx", "naptr", "ns", "ptr", "soa", "srv"}
    | {"svcb", "txt"}
)


@dataclass(frozen=True, slots=True)
class Query:
    """One question, in a message that can be read.

    flags: the header's; question: its section, as it came; name: None when no
    hostname can be meant; edns: the version, -1 without EDNS; payload: the size
    of a datagram that the client takes.
    """

    flags: int
    question: bytes
    name: str | None
    rdtype: int
    internet: bool
    edns: int
    payload: int
    dnssec: bool

    @property
    def limit(self) -> int:
        """The most bytes of a datagram in reply."""
        return max(PLAIN_UDP, min(self.payload, MAX_UDP))


def parse(wire: bytes) -> Query | bytes | None:
    """The query in a message; bytes: the reply to one that is none; None: no reply."""
    if len(wire) < HEAD or wire[2] & 0x80:  # an answer is no question: don't loop
        return None
    flags, questions = HEADER.unpack_from(wire)[1:3]
    if flags & OPCODE:
        return refusal(wire, dns.rcode.NOTIMP)
    end = question_end(wire)
    if questions != 1 or end is None:
        return refusal(wire, dns.rcode.FORMERR)
    try:
        message = dns.message.from_wire(wire, keyring=False)
        name = message.question[0].name
    except (dns.exception.DNSException, ValueError):
        return refusal(wire, dns.rcode.FORMERR)
    return Query(
        flags=flags,
        question=wire[HEAD:end],
        name=hostname(name.labels),
        rdtype=message.question[0].rdtype,
        internet=message.question[0].rdclass == dns.rdataclass.IN,
        edns=message.edns,
        payload=message.payload,
        dnssec=bool(message.ednsflags & DO),
    )


def question_end(wire: bytes) -> int | None:
    """Where the first question ends; None when it is cut off, or not a plain name."""
    place = HEAD
    while place < len(wire) and wire[place]:
        if wire[place] > 63:
            return None
        place += 1 + wire[place]
    end = place + 5
    return end if end <= len(wire) else None


def hostname(labels: tuple[bytes, ...]) -> str | None:
    """Labels as a hostname in lower case, without the final dot; None: it is none."""
    lower = [label.lower() for label in labels[:-1]]
    if not lower or not all(map(LABEL.fullmatch, lower)):
        return None
    return b".".join(lower).decode()


def type_name(rdtype: int) -> str:
    """A record type as metrics name it; few of them, as clients choose the number."""
    name = dns.rdatatype.to_text(dns.rdatatype.RdataType.make(rdtype)).lower()
    return name if name in COMMON else "other"


def refusal(wire: bytes, rcode: int, query: Query | None = None) -> bytes:
    """A reply that says no more than why there is no answer.

    wire: the message it replies to; query: what is in it, when it can be read.
    """
    number, flags = HEADER.unpack_from(wire)[:2]
    said = QR | RA | flags & (OPCODE | RD | CD) | rcode & RCODE
    if query is None:
        return HEADER.pack(number, said, 0, 0, 0, 0)
    edns = opt(query, rcode >> 4)
    return HEADER.pack(number, said, 1, 0, 0, bool(edns)) + query.question + edns


def opt(query: Query, extended: int = 0) -> bytes:
    """The EDNS record of a reply: nothing for who didn't send one."""
    if query.edns < 0:
        return b""
    kind = dns.rdatatype.OPT
    return struct.pack("!BHHBBHH", 0, kind, MAX_UDP, extended, 0, DO if query.dnssec else 0, 0)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer without its id; the records may be put into any order.

    flags: the header's; head: what comes before the records, with ``before``
    records of its own; tail: what comes behind, ``behind`` of them.
    """

    flags: int
    head: bytes
    before: int
    records: tuple[bytes, ...]
    tail: bytes
    behind: int

    def to_wire(
        self, number: bytes, limit: int, shuffle: Callable[[list[bytes]], None]
    ) -> bytes:
        """The message in reply to the one with this id (2 bytes).

        Of records that don't fit into ``limit`` bytes, as many as do are sent, and
        the client is told to ask again by TCP.
        """
        records = list(self.records)
        if len(records) > 1:
            shuffle(records)
        flags = self.flags
        if records:
            room = limit - HEAD - len(self.head) - len(self.tail)
            most = max(0, room) // len(records[0])
            if most < len(records):
                del records[most:]
                flags |= TC
        counts = struct.pack("!HHHHH", flags, 1, self.before + len(records), 0, self.behind)
        return b"".join((number, counts, self.head, *records, self.tail))


def answer(query: Query, found: Found) -> Answer:
    """The answer to a query whose name was found; without addresses it has no records."""
    flags = QR | AA | RA | query.flags & (RD | CD)
    head, before = query.question, 0
    owner = HEAD
    if found.kept and found.addresses:
        target = first_labels(query.question, found.kept)
        head += record(HEAD, dns.rdatatype.CNAME, target)
        owner = HEAD + len(head) - len(target)
        before = 1
    records = tuple(record(owner, query.rdtype, address) for address in found.addresses)
    tail = opt(query)
    return Answer(flags, head, before, records, tail, int(bool(tail)))


def record(owner: int, rdtype: int, data: bytes) -> bytes:
    """A record whose name is at an offset in the message (RFC 1035, 4.1.4)."""
    fixed = struct.pack("!HHHIH", 0xC000 | owner, rdtype, dns.rdataclass.IN, TTL, len(data))
    return fixed + data


def first_labels(question: bytes, count: int) -> bytes:
    """A name of the first labels of the question's, as bytes."""
    end = 0
    for _ in range(count):
        end += 1 + question[end]
    return question[:end] + b"\0"
