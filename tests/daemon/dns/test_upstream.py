from __future__ import annotations

import asyncio
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest

from daemon.dns.messages import Query, parse
from daemon.dns.upstream import Upstream, answers, system_servers
from tests.daemon.dns.cluster_dns import serving, silent, told
from tests.daemon.dns.meshes import query


def question(wire: bytes) -> bytes:
    made = parse(wire)
    assert isinstance(made, Query)
    return made.question


async def ask(upstream: Upstream, wire: bytes, *, tcp: bool = False) -> dns.message.Message:
    reply = await upstream.ask(wire, question(wire), tcp=tcp)
    assert reply is not None
    return dns.message.from_wire(reply)


def with_rcode(rcode: dns.rcode.Rcode) -> object:
    def behave(wire: bytes, _tcp: bool) -> list[bytes]:
        made = dns.message.make_response(dns.message.from_wire(wire))
        made.set_rcode(rcode)
        return [made.to_wire()]

    return behave


@pytest.mark.parametrize("tcp", [False, True])
async def test_bytes_pass_unchanged_but_for_the_id(tcp: bool) -> None:
    async with serving() as (server, port):
        upstream = Upstream(["127.0.0.1"], port=port)
        wire = query("www.Example.com", "TXT", payload=1400, number=7)
        for _ in range(20):
            made = await ask(upstream, wire, tcp=tcp)
            assert (made.id, made.answer[0][0].to_text()) == (
                7,
                '"over tcp"' if tcp else '"over udp"',
            )
        assert {asked[2:] for asked, _, _ in server.asked} == {wire[2:]}
        assert len({asked[:2] for asked, _, _ in server.asked}) > 15
        assert len({peer[1] for _, peer, _ in server.asked}) > 15
        assert {over for _, _, over in server.asked} == {tcp}


async def test_over_ipv6() -> None:
    async with serving("::1") as (_, port):
        for tcp in (False, True):
            assert (await ask(Upstream(["::1"], port=port), query("a.b"), tcp=tcp)).answer


async def test_names_that_do_not_exist_are_passed_on() -> None:
    async with serving() as (server, port):
        made = await ask(Upstream(["127.0.0.1"], port=port), query("nothing.com"))
        assert made.rcode() == dns.rcode.NXDOMAIN
        assert len(server.asked) == 1


@pytest.mark.parametrize("tcp", [False, True])
async def test_the_next_server_when_one_says_nothing(tcp: bool) -> None:
    async with serving(behaviour=silent) as (dumb, port), serving("127.0.0.2", port):
        upstream = Upstream(["127.0.0.1", "127.0.0.2"], seconds=0.4, port=port)
        assert (await ask(upstream, query("a.b"), tcp=tcp)).answer
        assert len(dumb.asked) == 1


@pytest.mark.parametrize("tcp", [False, True])
async def test_the_next_server_at_once_when_one_is_gone(tcp: bool) -> None:
    async with serving("127.0.0.2") as (_, port):
        upstream = Upstream(["127.0.0.1", "127.0.0.2"], seconds=60, port=port)
        async with asyncio.timeout(10):
            assert (await ask(upstream, query("a.b"), tcp=tcp)).answer


async def test_the_next_server_when_one_cannot_answer() -> None:
    refusing = with_rcode(dns.rcode.REFUSED)
    async with serving(behaviour=refusing) as (_, port):  # type: ignore[arg-type]
        upstream = Upstream(["127.0.0.1", "127.0.0.2"], port=port)
        assert (await ask(upstream, query("a.b"))).rcode() == dns.rcode.REFUSED
        async with serving("127.0.0.2", port):
            assert (await ask(upstream, query("a.b"))).answer


async def test_a_lost_datagram_is_sent_again() -> None:
    lost: list[bytes] = []

    def losing(wire: bytes, tcp: bool) -> list[bytes]:
        if not lost:
            lost.append(wire)
            return []
        return told(wire, tcp)

    async with serving(behaviour=losing) as (_, port):
        assert (await ask(Upstream(["127.0.0.1"], seconds=0.4, port=port), query("a.b"))).answer
        assert len(lost) == 1


@pytest.mark.parametrize("tcp", [False, True])
async def test_nobody_answers(tcp: bool) -> None:
    wire = query("a.b")
    async with serving(behaviour=silent) as (server, port):
        upstream = Upstream(["127.0.0.1"], seconds=0.1, port=port)
        assert await upstream.ask(wire, question(wire), tcp=tcp) is None
        assert len(server.asked) == 2


async def test_forged_answers_are_passed_over() -> None:
    """Wrong id, wrong question, a question in place of an answer; then the right one."""

    def forging(wire: bytes, tcp: bool) -> list[bytes]:
        right = told(wire, tcp)[0]
        other = dns.message.from_wire(wire)
        other.question[0].name = dns.name.from_text("x.y.")
        wrong_id = bytes([right[0] ^ 1]) + right[1:-4] + b"\6\6\6\6"
        return [b"", wrong_id, told(other.to_wire(), tcp)[0], wire, right]

    async with serving(behaviour=forging) as (server, port):
        made = await ask(Upstream(["127.0.0.1"], seconds=60, port=port), query("a.b"))
        assert made.answer[0].to_text() == "a.b. 60 IN A 9.9.9.9"
        assert len(server.asked) == 1


async def test_whoever_is_not_the_server_is_not_heard() -> None:
    async with serving(behaviour=silent) as (server, port):
        wire = query("a.b")
        upstream = Upstream(["127.0.0.1"], seconds=0.4, port=port)
        asking = asyncio.ensure_future(upstream.ask(wire, question(wire), tcp=False))
        async with serving("127.0.0.2") as (forger, _):
            while not server.asked:
                await asyncio.sleep(0)
            asked, peer, _ = server.asked[0]
            assert forger.transport is not None
            forger.transport.sendto(told(asked, False)[0], peer)
            assert await asking is None


def test_what_answers_a_question() -> None:
    asked = query("a.b")
    right = told(asked, False)[0]
    section = question(asked)
    assert answers(right, asked, section)
    assert answers(right[:12] + right[12:].replace(b"\1a", b"\1A"), asked, section)
    assert not answers(right[:11], asked, section)
    empty = right[:3] + b"\x81" + bytes(8)
    assert answers(empty, asked, section)  # FORMERR without the question
    assert not answers(right[:3] + b"\x80" + bytes(8), asked, section)


def test_the_machines_servers(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    assert system_servers(file) == ()
    file.write_text("# no\nnameserver 10.0.0.1 # x\nsearch a\nnameserver\nnameserver ::1\n")
    assert system_servers(file) == ("10.0.0.1", "::1")


def test_how_often_is_asked() -> None:
    assert Upstream(["a"]).attempts() == ("a", "a")
    assert Upstream(["a", "b"]).attempts() == ("a", "b")
    assert Upstream(list("abcde")).attempts() == ("a", "b", "c")
