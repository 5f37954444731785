"""Requests that a second parser might read as more than one, or that have no end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.attacks.rig import (
    Gate,
    besieged,
    block,
    frames_of,
    head,
    headers,
    opening,
    pour,
    raw,
    remains,
)
from tests.waypoint.wire import Peer, ok, request
from tests.ztunnel_compat.h2.ends import frame
from ztunnel_compat.h2.codes import CONTINUATION, DATA, HEADERS, RST_STREAM

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n"
LAST = b"0\r\n\r\n"
SEEN: list[bytes] = []


async def reads(peer: Peer) -> None:
    """An endpoint that reads as strictly as a server may, and notes what it reads."""
    while True:
        asked = await peer.reader.readuntil(b"\r\n\r\n")
        lowered = asked.lower()
        SEEN.append(asked)
        if b"content-length: " in lowered:
            size = int(lowered.split(b"content-length: ")[1].split(b"\r\n")[0])
            await peer.reader.readexactly(size)
        elif b"transfer-encoding" in lowered:
            while (await peer.reader.readuntil(b"\r\n")) != b"0\r\n":
                await peer.reader.readuntil(b"\r\n")
            await peer.reader.readuntil(b"\r\n")
        await peer.send(ok())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target() -> AsyncIterator[Gate]:
    async with besieged(reads) as made:
        yield made


#: Each with what must be the first answer's status; nothing after it may be answered.
VECTORS: dict[str, tuple[bytes, int]] = {
    "CL and TE": (raw("Content-Length: 4", "Transfer-Encoding: chunked", body=LAST), 400),
    "TE and CL": (raw("Transfer-Encoding: chunked", "Content-Length: 4", body=LAST), 400),
    "two lengths": (raw("Content-Length: 0", "Content-Length: 37"), 400),
    "two equal lengths": (raw("Content-Length: 0", "Content-Length: 0"), 400),
    "a list of lengths": (raw("Content-Length: 0, 37"), 400),
    "a signed length": (raw("Content-Length: +0"), 400),
    "a negative length": (raw("Content-Length: -1"), 400),
    "a length in hex": (raw("Content-Length: 0x0"), 400),
    "a length with an underscore": (raw("Content-Length: 1_0"), 400),
    "a length beyond 64 bits": (raw("Content-Length: 18446744073709551616"), 400),
    "an empty length": (raw("Content-Length: "), 400),
    "a length with a null": (raw("Content-Length: 0\0"), 400),
    "TE that isn't chunked": (raw("Transfer-Encoding: identity"), 400),
    "TE twice": (raw("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400),
    "TE with another after it": (raw("Transfer-Encoding: chunked, identity"), 400),
    "TE with another before it": (raw("Transfer-Encoding: gzip, chunked"), 501),
    "TE with a parameter": (raw("Transfer-Encoding: chunked;q=1"), 400),
    "TE in quotes": (raw('Transfer-Encoding: "chunked"'), 400),
    "TE with a vertical tab": (raw("Transfer-Encoding: \x0bchunked"), 400),
    "TE misspelt": (raw("Transfer-Encoding: xchunked"), 400),
    "TE and a space": (raw("Transfer-Encoding : chunked"), 400),
    "TE by a folded line": (raw("Transfer-Encoding:\r\n chunked"), 400),
    "TE behind a folded line": (raw("X: a\r\n Transfer-Encoding: chunked"), 400),
    "TE behind a bare LF": (raw("X: a\nTransfer-Encoding: chunked"), 400),
    "TE behind a bare CR": (raw("X: a\rTransfer-Encoding: chunked"), 400),
    "TE behind a null": (raw("X: a\0Transfer-Encoding: chunked"), 400),
    "a header before the first": (b"GET / HTTP/1.1\r\n X: a\r\nHost: web\r\n\r\n", 400),
    "a name with a space": (raw("Content Length: 4"), 400),
    "no name": (raw(": a"), 400),
    "no colon": (raw("Transfer-Encoding chunked"), 400),
    "lines that end in LF": (b"GET / HTTP/1.1\nHost: web\n\n", 400),
    "an empty line of LF": (b"GET / HTTP/1.1\r\nHost: web\r\n\n" + SMUGGLED, 400),
    "two hosts": (request("/", "Host: other"), 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "hosts in a list": (b"GET / HTTP/1.1\r\nHost: web, other\r\n\r\n", 400),
    "a target of another host": (b"GET http://other/ HTTP/1.1\r\nHost: web\r\n\r\n", 400),
    "a target with a user": (b"GET http://a@web/ HTTP/1.1\r\nHost: web\r\n\r\n", 400),
    "a target with a space": (b"GET /a b HTTP/1.1\r\nHost: web\r\n\r\n", 400),
    "a target with a tab": (b"GET /a\tb HTTP/1.1\r\nHost: web\r\n\r\n", 400),
    "a target with a fragment": (b"GET /a#b HTTP/1.1\r\nHost: web\r\n\r\n", 400),
    "a target with a null": (b"GET /a\0b HTTP/1.1\r\nHost: web\r\n\r\n", 400),
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: web\r\n\r\n", 400),
    "a space at the end": (b"GET / HTTP/1.1 \r\nHost: web\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: web\r\n\r\n", 426),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: web\r\n\r\n", 505),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: web\r\n\r\n", 505),
    "http in lower case": (b"GET / http/1.1\r\nHost: web\r\n\r\n", 400),
    "CONNECT": (b"CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n\r\n", 403),
    "Connection names a length": (raw("Connection: content-length", "Content-Length: 0"), 400),
    "Connection names the host": (raw("Connection: close, Host"), 400),
    "a request line without end": (b"GET /" + b"a" * 70_000, 414),
    "a header without end": (raw()[:-2] + b"X: " + b"a" * 70_000, 431),
    "a head without end": (raw()[:-2] + b"X: a\r\n" * 15_000, 431),
    "too many headers": (raw(*["X: a"] * 100), 431),
}  # fmt: skip

CHUNKS: dict[str, bytes] = {
    "a size beyond 64 bits": b"10000000000000000\r\nx",
    "the largest size": b"ffffffffffffffff\r\nx",
    "a size that isn't hex": b"g\r\n",
    "a signed size": b"+0\r\n\r\n",
    "a size in C": b"0x0\r\n\r\n",
    "a size and a space": b"0 \r\n\r\n",
    "a space and a size": b" 0\r\n\r\n",
    "no size": b"\r\n0\r\n\r\n",
    "a size that ends in LF": b"0\n\r\n",
    "a size that ends in CR": b"0\r\r\n",
    "data that goes on": b"1\r\nxx\r\n0\r\n\r\n",
    "data that ends in LF": b"1\r\nx\n0\r\n\r\n",
    "data that ends in CR CR": b"1\r\nx\r\r0\r\n\r\n",
    "an extension without a name": b"0;\r\n\r\n",
    "an extension with LF": b"0;a\nb\r\n\r\n",
    "an extension with CR": b"0;a\rb\r\n\r\n",
    "an extension with an open quote": b'0;a="\r\n\r\n',
    "an extension and a space": b"0 ;a\r\n\r\n",
    "a long extension": b"1;" + b"a" * 5000 + b"\r\nx\r\n0\r\n\r\n",
    "many extensions": (b"1;" + b"a" * 900 + b"\r\nx\r\n") * 40 + b"0\r\n\r\n",
    "trailers with a length": b"0\r\nContent-Length: 0\r\n\r\n",
    "trailers with TE": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "trailers with a host": b"0\r\nHost: other\r\n\r\n",
    "trailers that end in LF": b"0\r\nX: a\n\r\n",
    "folded trailers": b"0\r\nX: a\r\n b\r\n\r\n",
    "trailers without end": b"0\r\n" + b"X: a\r\n" * 3000,
    "too many trailers": b"0\r\n" + b"X: a\r\n" * 101 + b"\r\n",
}


@pytest.mark.parametrize("name", VECTORS)
async def test_a_request_that_may_be_read_in_two_ways_is_refused(
    target: Gate, name: str
) -> None:
    sent, status = VECTORS[name]
    SEEN.clear()
    peer = await target.dial()
    await pour(peer, sent + SMUGGLED)
    said = await remains(peer)
    peer.writer.transport.abort()
    assert said.startswith(b"HTTP/1.1 %d " % status)
    assert said.count(b"HTTP/1.1 ") == 1
    assert not SEEN


@pytest.mark.parametrize("name", CHUNKS)
async def test_chunks_that_may_be_read_in_two_ways_are_refused(target: Gate, name: str) -> None:
    SEEN.clear()
    peer = await target.dial()
    await pour(peer, raw("Transfer-Encoding: chunked", body=CHUNKS[name]) + SMUGGLED)
    said = await remains(peer)
    peer.writer.transport.abort()
    assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    assert said.count(b"HTTP/1.1 ") == 1
    assert all(b"smuggled" not in seen for seen in SEEN)


async def test_h2c_upgrades_are_no_way_round(target: Gate) -> None:
    """The endpoint never hears of it, and what follows is read here as requests."""
    SEEN.clear()
    peer = await target.dial()
    asked = request(
        "/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"
    )
    await pour(peer, asked + opening() + headers(1, *head(b"/smuggled")))
    said = await remains(peer)
    peer.writer.transport.abort()
    assert said.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 505 " in said or b"HTTP/1.1 400 " in said
    assert len(SEEN) == 1
    lowered = SEEN[0].lower()
    assert b"upgrade" not in lowered
    assert b"http2-settings" not in lowered


async def test_bytes_ahead_of_an_upgrade_s_answer_poison_nobody(target: Gate) -> None:
    """CVE-2026-73548: an endpoint that takes no upgrade would read them as a request."""
    SEEN.clear()
    peer = await target.dial()
    asked = request(
        "/ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )  # fmt: skip
    await pour(peer, asked)
    await peer.response()
    assert [seen.split(b" ")[1] for seen in SEEN] == [b"/ws"]
    peer.writer.transport.abort()
    SEEN.clear()
    peer = await target.dial()
    await pour(peer, asked + b"\x81\x05hello" + SMUGGLED)
    said = await remains(peer)
    peer.writer.transport.abort()
    assert said.startswith(b"HTTP/1.1 200 ")
    assert [seen.split(b" ")[1] for seen in SEEN] == [b"/ws"]


INJECTED: dict[str, tuple[tuple[bytes, bytes], ...]] = {
    "a line in a value": ((b"x", b"a\r\nTransfer-Encoding: chunked"),),
    "LF in a value": ((b"x", b"a\nb: c"),),
    "CR in a value": ((b"x", b"a\rb"),),
    "a null in a value": ((b"x", b"a\0"),),
    "a line in a name": ((b"x: y\r\nz", b"a"),),
    "a colon in a name": ((b"transfer-encoding: chunked", b"a"),),
    "TE": ((b"transfer-encoding", b"chunked"),),
    "connection": ((b"connection", b"upgrade"),),
    "upgrade": ((b"upgrade", b"h2c"),),
    "keep-alive": ((b"keep-alive", b"1"),),
    "proxy-connection": ((b"proxy-connection", b"close"),),
    "two lengths": ((b"content-length", b"0"), (b"content-length", b"37")),
    "a length that lies": ((b"content-length", b"37"),),
    "another host": ((b"host", b"other"),),
    "upper case": ((b"Transfer-Encoding", b"chunked"),),
    "a space around": ((b"content-length", b" 0"),),
}
#: In place of a request's own.
FORGED: dict[str, tuple[bytes, bytes]] = {
    "a request in a path": (b":path", b"/ HTTP/1.1\r\nHost: web\r\n\r\nGET /smuggled"),
    "a space in a path": (b":path", b"/smuggled HTTP/1.1"),
    "a fragment in a path": (b":path", b"/#/smuggled"),
    "no slash in a path": (b":path", b"smuggled"),
    "an empty path": (b":path", b""),
    "a request in a method": (b":method", b"GET / HTTP/1.1\r\n\r\nGET"),
    "a space in a method": (b":method", b"GET /smuggled"),
    "a line in an authority": (b":authority", b"web\r\nX: smuggled"),
    "a user in an authority": (b":authority", b"smuggled@web"),
    "a path in an authority": (b":authority", b"web/smuggled"),
    "another scheme": (b":scheme", b"smuggled"),
}


@pytest.mark.parametrize("name", [*INJECTED, *FORGED])
async def test_http2_that_would_be_more_in_http1_is_refused(target: Gate, name: str) -> None:
    fields = head(b"/smuggled", *INJECTED.get(name, ()))
    if name in FORGED:
        fields = [FORGED[name] if f[0] == FORGED[name][0] else f for f in head(b"/smuggled-0")]
    SEEN.clear()
    peer = await target.dial()
    await pour(peer, opening() + headers(1, *fields) + headers(3, *head(b"/last")))
    found = await until_answered(peer, 3)
    peer.writer.transport.abort()
    assert [seen.split(b" ")[1] for seen in SEEN] == [b"/last"]
    # Reset, or answered 400: by its index in HPACK's table.
    answers = [p for kind, _, stream, p in found if stream == 1 and kind == HEADERS]
    resets = [p for kind, _, stream, p in found if stream == 1 and kind == RST_STREAM]
    assert [a[:1] for a in answers] == [b"\x8c"] or resets


async def until_answered(peer: Peer, stream: int) -> list[tuple[int, int, int, bytes]]:
    """The frames up to a stream's end."""
    said = b""
    async with asyncio.timeout(5):
        while not any(s == stream and flags & 1 for _, flags, s, _ in frames_of(said)):
            data = await peer.reader.read(65536)
            assert data, said
            said += data
    return frames_of(said)


async def test_content_that_isn_t_what_was_promised_ends_the_endpoint_s_request(
    target: Gate,
) -> None:
    """H2.CL: an HTTP/1.1 endpoint would take what is missing from the next request."""
    for promised, content in ((5, b"four"), (3, b"four")):
        SEEN.clear()
        peer = await target.dial()
        length = (b"content-length", b"%d" % promised)
        await pour(
            peer,
            opening()
            + headers(1, *head(b"/short", length, method=b"POST"), end=False)
            + frame(DATA, 1, 1, content)
            + headers(3, *head(b"/next")),
        )
        found = await until_answered(peer, 3)
        peer.writer.transport.abort()
        assert [p for kind, _, stream, p in found if stream == 1 and kind == RST_STREAM]
        assert SEEN[-1].startswith(b"GET /next ")


async def test_requests_sent_ahead_without_reading_answers(target: Gate) -> None:
    """Until the way back is full, they are requests as any other."""
    async with target.attack(requests=100_000):
        peer = await target.dial(room=4096)
        asked = request("/", "x-request-id: 1") * 1000
        took = 0
        for _ in range(400):
            try:
                async with asyncio.timeout(1):
                    await peer.send(asked)
            except TimeoutError:
                break
            took += 1
        peer.writer.transport.abort()
        assert took < 400
    await target.settled()


async def test_header_blocks_cut_into_single_bytes(target: Gate) -> None:
    """What is cut costs a turn a byte, and no more than that."""
    async with target.attack():
        peer = await target.dial()
        whole = block(*head(b"/bytes"))[:60]
        await pour(peer, opening() + frame(HEADERS, 1, 1, whole[:1]))
        for at in range(1, len(whole)):
            last = 4 if at == len(whole) - 1 else 0
            await pour(peer, frame(CONTINUATION, last, 1, whole[at : at + 1]))
        assert await until_answered(peer, 1)
        peer.writer.transport.abort()
    await target.settled()


async def test_paths_for_which_a_regular_expression_may_try_for_ever(target: Gate) -> None:
    """CVE-2019-15225: a route's is ``/(a|a|aa)*b``, and it costs what the path is long."""
    async with target.attack():
        peer = await target.dial()
        for i in range(50):
            answer, _ = await peer.get(f"/{'a' * 8000}{i}")
            assert answer.startswith(b"http/1.1 200 ")
        answer, _ = await peer.get(f"/{'a' * 8000}b")
        assert answer.startswith(b"http/1.1 403 ")
        peer.writer.transport.abort()
    await target.settled()
