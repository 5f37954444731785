from __future__ import annotations

import random

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update
import pytest

from daemon.dns import messages
from daemon.dns.answers import Found
from daemon.dns.messages import Query, answer, parse, refusal, type_name
from tests.daemon.dns.meshes import query
from tests.daemon.meshes import ip


def keep(_: list[bytes]) -> None:
    """Leaves the order as it is."""


def parsed(wire: bytes) -> Query:
    made = parse(wire)
    assert isinstance(made, Query)
    return made


def answered(
    wire: bytes, *addresses: str, kept: int = 0, limit: int = 65535
) -> dns.message.Message:
    found = Found(tuple(map(ip, addresses)), kept)
    return dns.message.from_wire(answer(parsed(wire), found).to_wire(wire[:2], limit, keep))


def refused(wire: bytes) -> dns.message.Message:
    made = parse(wire)
    assert isinstance(made, bytes)
    return dns.message.from_wire(made)


def test_what_is_asked() -> None:
    asked = parsed(query("WWW.Example.com.", "AAAA"))
    assert (asked.name, asked.rdtype, asked.internet, asked.edns, asked.limit) == (
        "www.example.com",
        dns.rdatatype.AAAA,
        True,
        -1,
        512,
    )
    assert asked.question[:4] == b"\3WWW"
    assert not parsed(dns.message.make_query("version.bind", "TXT", "CH").to_wire()).internet


@pytest.mark.parametrize(
    ("payload", "limit"), [(512, 512), (100, 512), (1232, 1232), (65535, 4096)]
)
def test_how_much_a_client_takes(payload: int, limit: int) -> None:
    asked = parsed(query("a.b", payload=payload))
    assert (asked.edns, asked.limit) == (0, limit)


def test_labels_that_no_hostname_has() -> None:
    for labels in ([b"web.app"], [b"w\xff"], [b"a b"], []):
        wire = query("x.")[:12] + b"".join(bytes([len(x)]) + x for x in labels) + b"\0\0\1\0\1"
        assert parsed(wire).name is None


def test_an_answer() -> None:
    wire = query("Web.app", payload=1400, number=77)
    made = answered(wire, "10.96.0.1", "10.96.0.2")
    assert made.id == 77
    assert made.flags == dns.flags.QR | dns.flags.AA | dns.flags.RD | dns.flags.RA
    assert [r.to_text() for r in made.answer] == [
        "Web.app. 30 IN A 10.96.0.1\nWeb.app. 30 IN A 10.96.0.2"
    ]
    assert made.question == dns.message.from_wire(wire).question
    assert (made.edns, made.payload) == (0, 4096)


def test_without_edns_and_recursion_there_is_none_in_the_answer() -> None:
    asked = dns.message.make_query("web", "AAAA", use_edns=-1, flags=0)
    made = answered(asked.to_wire(), "fd00::1")
    assert (made.edns, made.flags & dns.flags.RD) == (-1, 0)
    assert made.answer[0].to_text() == "web. 30 IN AAAA fd00::1"


def test_dnssec_ok_is_echoed() -> None:
    asked = dns.message.make_query("web", "A", use_edns=0, want_dnssec=True)
    assert answered(asked.to_wire(), "10.96.0.1").ednsflags == dns.flags.DO


def test_no_record_of_that_type() -> None:
    made = answered(query("web", "AAAA"), kept=0)
    assert (made.rcode(), made.answer) == (dns.rcode.NOERROR, [])


def test_an_alias() -> None:
    made = answered(query("db.Example.com.app.svc.cluster.local"), "240.0.0.1", kept=3)
    assert [r.to_text() for r in made.answer] == [
        "db.Example.com.app.svc.cluster.local. 30 IN CNAME db.Example.com.",
        "db.Example.com. 30 IN A 240.0.0.1",
    ]
    assert answered(query("db.com.app.svc.cluster.local"), kept=2).answer == []


@pytest.mark.parametrize("payload", [0, 700, 4096])
@pytest.mark.parametrize("kind", ["A", "AAAA"])
def test_what_does_not_fit_is_left_out_and_said(payload: int, kind: str) -> None:
    wire = query("db.example.com.app.svc.cluster.local", kind, payload=payload)
    prefix = "10.0.0." if kind == "A" else "fd00::"
    addresses = [ip(f"{prefix}{n}") for n in range(1, 251)]
    made = answer(parsed(wire), Found(tuple(addresses), 3))
    limit = parsed(wire).limit
    sent = made.to_wire(wire[:2], limit, keep)
    size = 16 if kind == "A" else 28
    whole = len(made.to_wire(wire[:2], 65535, keep))
    assert len(sent) <= limit
    if whole > limit:
        assert len(sent) > limit - size
        assert dns.message.from_wire(sent).flags & dns.flags.TC
    else:
        assert len(sent) == whole
    everything = dns.message.from_wire(made.to_wire(wire[:2], 65535, keep))
    assert not everything.flags & dns.flags.TC
    assert len(everything.answer[1]) == 250


def test_records_in_any_order() -> None:
    wire = query("web")
    made = answer(parsed(wire), Found(tuple(ip(f"10.0.0.{n}") for n in range(20))))
    rng = random.Random(1)
    seen = {made.to_wire(wire[:2], 512, rng.shuffle) for _ in range(10)}
    assert len(seen) == 10
    for one in seen:
        assert len(dns.message.from_wire(one).answer[0]) == 20


def test_what_is_no_query() -> None:
    assert parse(b"") is None
    assert parse(query("web")[:11]) is None
    response = dns.message.make_response(dns.message.from_wire(query("web"))).to_wire()
    assert parse(response) is None
    update = dns.update.UpdateMessage("example.com").to_wire()
    assert refused(update).rcode() == dns.rcode.NOTIMP


def test_what_cannot_be_read_is_a_format_error() -> None:
    good = query("web.app", payload=1232, number=513)
    pointer = good[:12] + b"\xc0\x0c\0\1\0\1"
    # A name that is the header's first bytes, and enough behind it.
    header = b"\2\1\0\0\0\1\0\0\0\0\0\1\xc0\4\0\1\0\1"
    header += b"\0\0\x29\4\xd0\0\0\0\0\1\4\0\x0c\1\0" + bytes(256)
    assert dns.message.from_wire(header).question
    section = good[12:25]
    questions = good[:4] + b"\0\2" + good[6:12] + section * 2 + good[25:]
    assert len(dns.message.from_wire(questions).question) == 2
    two = good[:4] + b"\0\2" + good[6:]
    none = good[:4] + b"\0\0" + good[6:]
    cut = (good[:12], good[:15], good[:-1])
    for wire in (*cut, pointer, header, questions, two, none, good + b"x"):
        made = refused(wire)
        assert (made.id, made.rcode(), made.question) == (513, dns.rcode.FORMERR, [])


def test_signed_queries_can_be_read() -> None:
    signed = dns.message.make_query("web", "A")
    signed.use_tsig(dns.tsig.Key("key.", "aGVsbG8gd29ybGQ="))
    assert parsed(signed.to_wire()).name == "web"


def test_refusals() -> None:
    wire = query("web", payload=1232)
    made = dns.message.from_wire(refusal(wire, dns.rcode.SERVFAIL, parsed(wire)))
    assert (made.rcode(), made.edns) == (dns.rcode.SERVFAIL, 0)
    assert made.question == dns.message.from_wire(wire).question
    bad = dns.message.from_wire(refusal(wire, messages.BADVERS, parsed(wire)))
    assert bad.rcode() == dns.rcode.BADVERS


def test_types_are_few_in_metrics() -> None:
    names = {type_name(number) for number in range(65536)}
    assert {"a", "aaaa", "srv", "any", "other"} <= names
    assert len(names) < 20


def test_nothing_that_comes_does_harm() -> None:
    """Thousands of damaged and random messages: read, refused or ignored."""
    rng = random.Random(20)
    seeds = [
        query("web.app", payload=1232),
        query("db.example.com.app.svc.cluster.local", "AAAA"),
        dns.message.make_query("x.y", "SRV", use_edns=0, options=[]).to_wire(),
    ]
    outcomes = {"query": 0, "refused": 0, "ignored": 0}
    for _ in range(6000):
        wire = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 6)):
            choice = rng.randrange(4)
            if choice == 0 and wire:
                wire[rng.randrange(len(wire))] = rng.randrange(256)
            elif choice == 1:
                del wire[rng.randrange(len(wire) + 1) :]
            elif choice == 2:
                wire += rng.randbytes(rng.randrange(8))
            elif wire:
                wire[2:4] = bytes([wire[2:3][0] & 1 if wire[2:3] else 0, 0])
        if rng.random() < 0.1:
            wire = bytearray(rng.randbytes(rng.randrange(80)))
        made = parse(bytes(wire))
        if isinstance(made, Query):
            outcomes["query"] += 1
            addresses = (ip("1.2.3.4"),) if made.rdtype == dns.rdatatype.A else ()
            reply = answer(made, Found(addresses)).to_wire(bytes(wire[:2]), 512, keep)
            assert len(reply) <= 512
            assert dns.message.from_wire(reply).id == int.from_bytes(wire[:2], "big")
            if made.name:
                assert made.name == made.name.lower()
        elif made is None:
            outcomes["ignored"] += 1
            assert len(wire) < 12 or wire[2] & 0x80
        else:
            outcomes["refused"] += 1
            assert dns.message.from_wire(made).rcode() in (dns.rcode.FORMERR, dns.rcode.NOTIMP)
    assert min(outcomes.values()) > 300, outcomes
