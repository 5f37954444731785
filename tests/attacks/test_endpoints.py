"""Endpoints that answer what nobody asked for, in two ways at once, or without end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from tests.attacks.rig import (
    MIB,
    Gate,
    besieged,
    block,
    frames_of,
    head,
    headers,
    opening,
    pour,
    remains,
)
from tests.waypoint.wire import Peer, ok, request
from tests.ztunnel_compat.h2.ends import frame
from ztunnel_compat.h2.codes import (
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from ztunnel_compat.h2.decoder import Decoder

START = b"HTTP/1.1 200 OK\r\n"
EMPTY = b"Content-Length: 0\r\n\r\n"
POISON = ok(b"poison")
#: Answers to ``/bad``. Each makes it 502, or is cut off.
BAD: dict[str, bytes] = {
    "CL and TE": START + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": START + b"Content-Length: 0\r\nContent-Length: 6\r\n\r\n" + POISON,
    "a list of lengths": START + b"Content-Length: 0, 6\r\n\r\n" + POISON,
    "a signed length": START + b"Content-Length: +0\r\n\r\n" + POISON,
    "TE that isn't chunked": START + b"Transfer-Encoding: identity\r\n\r\n",
    "TE and a space": START + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "TE in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": START + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "lines that end in LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n" + b"\r\n\r\n",
    "a bare LF": START + b"X: a\nContent-Length: 9\r\nContent-Length: 0\r\n\r\n",
    "a bare CR": START + b"X: a\rb\r\nContent-Length: 0\r\n\r\n",
    "a null": START + b"X: a\0\r\nContent-Length: 0\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "a status of 0": b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
    "no version": b"200 OK\r\nContent-Length: 0\r\n\r\n",
    "another version": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "101, which nobody asked for": b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n\r\n" + POISON,
    "Connection names a length": START + b"Connection: content-length\r\n" + EMPTY,
    "1xx without end": b"HTTP/1.1 103 Early\r\n\r\n" * 1000 + POISON,
    "a head without end": START + b"X: a\r\n" * 15_000,
    "a header without end": START + b"X: " + b"a" * 100_000,
    "too many headers": START + b"X: a\r\n" * 101 + b"Content-Length: 0\r\n\r\n",
}  # fmt: skip
#: Chunks after a good head: the response begins, and must not look whole.
CUT: dict[str, bytes] = {
    "a chunk's size beyond 64 bits": b"10000000000000000\r\n",
    "a chunk's size and a space": b"0 \r\n\r\n",
    "a chunk that goes on": b"1\r\nxx\r\n0\r\n\r\n",
    "chunk extensions without end": (b"1;" + b"a" * 900 + b"\r\nx\r\n") * 40 + b"0\r\n\r\n",
    "trailers with a length": b"0\r\nContent-Length: 0\r\n\r\n",
    "trailers without end": b"0\r\n" + b"X: a\r\n" * 3000,
}


async def test_answers_that_may_be_read_in_two_ways() -> None:
    answers: Iterator[bytes] = iter(())

    async def handle(peer: Peer) -> None:
        while True:
            asked = await peer.reader.readuntil(b"\r\n\r\n")
            await peer.send(next(answers) if b" /bad " in asked else ok())

    async with besieged(handle) as target, target.attack():
        for name, answer in BAD.items():
            answers = iter([answer])
            peer = await target.dial()
            await peer.send(request("/bad", "x-request-id: 1"))
            status = await peer.until(b"\r\n")
            while status.startswith(b"HTTP/1.1 103 "):
                await peer.until(b"\r\n\r\n")
                status = await peer.until(b"\r\n")
            assert status.startswith(b"HTTP/1.1 502 "), name
            assert b"poison" not in await peer.until(b"protocol error"), name
            peer.writer.transport.abort()
        for name, chunks in CUT.items():
            answers = iter([START + b"Transfer-Encoding: chunked\r\n\r\n" + chunks])
            peer = await target.dial()
            await peer.send(request("/bad", "x-request-id: 1", "connection: close"))
            said = await remains(peer)
            whole = said.startswith(b"HTTP/1.1 502 ") and said.endswith(b"protocol error")
            assert whole or not said.endswith(b"0\r\n\r\n"), name
            peer.writer.transport.abort()
        await target.plain(10)


async def test_answers_to_nobody() -> None:
    """Whatever comes with or after an answer is nobody's, and its connection is not used."""

    async def handle(peer: Peer) -> None:
        asked = await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(ok(asked.split(b" ")[1]) + POISON)
        await asyncio.sleep(0.01)
        await peer.send(POISON)
        await peer.reader.read()

    async def late(peer: Peer) -> None:
        asked = await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(ok(asked.split(b" ")[1]))
        await asyncio.sleep(0.05)
        await peer.send(POISON)
        await peer.reader.read()

    for handler, stray in ((handle, 0), (late, 5)):
        async with besieged(handler, price=False) as target:
            for i in range(5):
                peer = await target.dial()
                _, body = await peer.get(f"/{i}")
                assert body == b"/%d" % i
                if stray:
                    async with asyncio.timeout(5):
                        while (await target.figures())["stats"]["stray_bytes"] <= i:
                            await asyncio.sleep(0.01)
                peer.writer.transport.abort()
            assert (await target.settled())["stats"]["stray_bytes"] == stray


#: What an endpoint sends in HTTP/2 without end, once it was asked on stream 1.
FLOODS: dict[str, Callable[[int], bytes]] = {
    "SETTINGS": lambda i: frame(SETTINGS, 0, 0),
    "PING": lambda i: frame(PING, 0, 0, bytes(8)),
    "WINDOW_UPDATE": lambda i: frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\x01"),
    "PRIORITY": lambda i: frame(PRIORITY, 0, 1, bytes(5)),
    "empty DATA": lambda i: (
        frame(DATA, 0, 1) if i else frame(HEADERS, 4, 1, b"\x88") + frame(DATA, 0, 1)
    ),
    "unknown frames": lambda i: frame(77, 0, 1),
    "GOAWAY": lambda i: frame(GOAWAY, 0, 0, b"\x7f\xff\xff\xff" + bytes(4)),
    "RST_STREAM": lambda i: frame(RST_STREAM, 0, 1, bytes(4)),
    "PUSH_PROMISE": lambda i: frame(PUSH_PROMISE, 4, 1, b"\0\0\0\x02" + block()),
    "answers on streams of its own": lambda i: frame(HEADERS, 5, 2 * i + 2, b"\x88"),
    "answers on streams that aren't there": lambda i: frame(HEADERS, 5, 2 * i + 1001, b"\x88"),
    "CONTINUATION": lambda i: frame(CONTINUATION, 0, 1) if i else frame(HEADERS, 0, 1, b"\x88"),
    "an index that stands for much": lambda i: frame(
        HEADERS, 4, 1, b"\x88\x40\x01a\x7f\xd0\x1e" + b"v" * 4047 + b"\xbe" * 100
    ),
}
#: What ends its request alone.
BROKEN: dict[str, bytes] = {
    "1xx without end": headers(1, (b":status", b"103"), end=False) * 100,
    "101": headers(1, (b":status", b"101"), end=False),
    "two statuses": headers(1, (b":status", b"200"), (b":status", b"204")),
    "no status": headers(1, (b"x", b"a")),
    "a request": headers(1, *head()),
    "a line in a value": headers(1, (b":status", b"200"), (b"x", b"a\r\nb: c")),
    "TE": headers(1, (b":status", b"200"), (b"transfer-encoding", b"chunked")),
    "two lengths": headers(
        1, (b":status", b"200"), (b"content-length", b"1"), (b"content-length", b"2")
    ),
    "a length that lies": headers(1, (b":status", b"200"), (b"content-length", b"9")),
    "content before a head": frame(DATA, 0, 1, b"poison"),
    "too many headers": headers(1, (b":status", b"200"), *[(b"x", b"")] * 101),
}


async def read_request(peer: Peer) -> tuple[int, bytes]:
    """The next request's stream and its block."""
    while True:
        start = await peer.reader.readexactly(9)
        if start == b"PRI * HTT":
            await peer.reader.readexactly(15)
            continue
        payload = await peer.reader.readexactly(int.from_bytes(start[:3], "big"))
        if start[3] == HEADERS:
            return int.from_bytes(start[5:9], "big"), payload


class Endpoint2:
    """An endpoint that speaks HTTP/2: hostile on the first connection made for ``/bad``."""

    def __init__(self) -> None:
        self.make: Callable[[int], bytes] = lambda i: b""
        self.armed = False
        self.most = 0
        self.taken = 0
        self.done = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        await peer.send(frame(SETTINGS, 0, 0))
        while True:
            stream, _ = await read_request(peer)
            if not self.armed:
                answer = b"\x88\x5c\x012"
                await peer.send(
                    frame(HEADERS, 4, stream, answer) + frame(DATA, 1, stream, b"ok")
                )
                continue
            self.armed = False
            self.taken = 0
            self.done.clear()
            # On whatever stream it was asked, these are written for the first.
            for i in range(self.most):
                data = self.make(i).replace(b"\0\0\0\x01", stream.to_bytes(4, "big"), 1)
                self.taken = i
                if not await pour(peer, data):
                    break
                if i % 20 == 0:
                    await asyncio.sleep(0)
            self.done.set()
            return


@pytest.mark.parametrize("http2", [False, True], ids=["to HTTP/1.1", "to HTTP/2"])
async def test_floods_in_http2(http2: bool) -> None:
    endpoint = Endpoint2()
    async with besieged(endpoint, speaks=2) as target, target.attack(memory=64 * MIB):
        for name, make in FLOODS.items():
            endpoint.make, endpoint.most, endpoint.armed = make, 60_000, True
            # The connection that the last one flooded may still be there for a request.
            while endpoint.armed:
                assert await status_of(target, http2=http2) in {b"200", b"502", b"503"}, name
            async with asyncio.timeout(10):
                await endpoint.done.wait()
            assert endpoint.taken < 59_999, name
        for name, answer in BROKEN.items():
            endpoint.make, endpoint.most, endpoint.armed = (lambda i, a=answer: a), 1, True  # type: ignore[misc]
            while endpoint.armed:
                assert await status_of(target, http2=http2) in {b"502", b"503"}, name


async def status_of(target: Gate, *, http2: bool) -> bytes:
    """What a client is told in the end; 502: its stream was reset."""
    peer = await target.dial()
    try:
        if not http2:
            await peer.send(request("/bad", "x-request-id: 1"))
            status = (await peer.until(b"\r\n")).split(b" ")[1]
            while status == b"103":
                await peer.until(b"\r\n\r\n")
                status = (await peer.until(b"\r\n")).split(b" ")[1]
            return status
        await peer.send(opening() + headers(1, *head(b"/bad")))
        said = b""
        async with asyncio.timeout(10):
            while True:
                data = await peer.reader.read(65536)
                assert data
                said += data
                decoder = Decoder(MIB)
                for kind, _, _, payload in frames_of(said):
                    if kind == RST_STREAM:
                        return b"502"
                    if kind == HEADERS:
                        status = decoder.decode(payload)[0][1]
                        if status != b"103":
                            return status
    finally:
        peer.writer.transport.abort()
