"""What HTTP/2 lets a client do for nothing, done without end.

CVE-2019-9511 to 9518, CVE-2023-44487 (rapid reset), CVE-2024-27316 (CONTINUATION),
CVE-2025-8671 (resets that the server is made to send), CVE-2026-47774 (cookies).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

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
from tests.waypoint.wire import Peer, ok
from tests.ztunnel_compat.h2.ends import frame
from waypoint.http2.wire import HELD
from ztunnel_compat.h2.codes import (
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALM = ErrorCode.ENHANCE_YOUR_CALM
LARGE = ok(bytes(MIB))
STREAMS = 250
#: Index 62: what was inserted last.
BOMB = b"\x40\x01a\x7f\xd0\x1e" + b"v" * 4047


async def answers(peer: Peer) -> None:
    """Answers ``/large`` with much, ``/never`` not at all, everything else at once."""
    while True:
        asked = await peer.reader.readuntil(b"\r\n\r\n")
        if b" /large " in asked:
            await peer.send(LARGE)
        elif b" /heads " in asked:
            await peer.send(ok(b"", *(f"x-{i}: {'v' * 1000}" for i in range(40))))
        elif b" /never " not in asked:
            await peer.send(ok())


#: 1,800 fields of 38 bytes each, in 3 bytes on the wire.
CRUMBS = block(*head(b"/never"), *[(b"cookie", b"")] * 1800)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target() -> AsyncIterator[Gate]:
    async with besieged(answers) as made:
        yield made


def stream_of(i: int) -> int:
    return 2 * i + 3


NEVER = headers(1, *head(b"/never", method=b"POST"), end=False)
FLOODS: dict[str, tuple[Callable[[int], bytes], ErrorCode]] = {
    "rapid reset": (
        lambda i: headers(stream_of(i), *head(b"/never"))
        + frame(RST_STREAM, 0, stream_of(i), bytes(4)),
        CALM,
    ),
    "resets that we are made to send, by windows": (
        lambda i: headers(stream_of(i), *head(b"/never"))
        + frame(WINDOW_UPDATE, 0, stream_of(i), bytes(4)),
        CALM,
    ),
    "resets that we are made to send, by content after the end": (
        lambda i: headers(stream_of(i), *head(b"/never")) + frame(DATA, 0, stream_of(i), b"x"),
        CALM,
    ),
    "malformed requests": (lambda i: headers(stream_of(i), (b":method", b"GET")), CALM),
    "streams beyond the limit": (
        lambda i: headers(stream_of(i), *head(b"/never", method=b"POST"), end=False), CALM,
    ),
    "SETTINGS": (lambda i: frame(SETTINGS, 0, 0, b"\0\x04\0\0\xff\xff"), CALM),
    "PING": (lambda i: frame(PING, 0, 0, bytes(8)), CALM),
    "answers to no PING": (lambda i: frame(PING, 1, 0, bytes(8)), CALM),
    "empty DATA": (lambda i: frame(DATA, 0, 1), CALM),
    "DATA of padding": (lambda i: frame(DATA, 8, 1, b"\x05" + bytes(5)), CALM),
    "PRIORITY": (lambda i: frame(PRIORITY, 0, stream_of(i), b"\0\0\0\x01\x10"), CALM),
    "WINDOW_UPDATE of a stream": (lambda i: frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\x01"), CALM),
    "WINDOW_UPDATE": (lambda i: frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01"), CALM),
    "unknown frames": (lambda i: frame(200, 0, 1, b"x"), CALM),
    "GOAWAY": (lambda i: frame(GOAWAY, 0, 0, bytes(8)), CALM),
    "PUSH_PROMISE": (
        lambda i: frame(PUSH_PROMISE, 4, 1, b"\0\0\0\x02" + block()), ErrorCode.PROTOCOL_ERROR,
    ),
    "CONTINUATION of nothing": (
        lambda i: frame(CONTINUATION, 0, 1, b""), ErrorCode.PROTOCOL_ERROR,
    ),
    "empty CONTINUATION": (
        lambda i: frame(CONTINUATION, 0, 3) if i else frame(HEADERS, 1, 3, block()), CALM,
    ),
    "CONTINUATION without end": (
        lambda i: frame(CONTINUATION, 0, 3, b"\0\x01a\x7f\x81\x7e" + bytes(16384 - 6))
        if i
        else frame(HEADERS, 1, 3, block()),
        CALM,
    ),
    "indices of large fields": (
        lambda i: headers(3, *head(b"/never"), end=False)
        if i == 0
        else frame(HEADERS, 5, stream_of(i), block(*head(b"/never")) + BOMB + b"\xbe" * 8000),
        CALM,
    ),
    "a table that is resized all the time": (
        lambda i: frame(HEADERS, 5, stream_of(i), (b"\x20\x3f\xe1\x1f" * 4000) + b"\x82"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "crumbs of cookies": (
        lambda i: frame(HEADERS, 5, stream_of(i), CRUMBS), CALM,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_is_ended(target: Gate, name: str) -> None:
    make, code = FLOODS[name]
    async with target.attack():
        peer = await target.dial()
        reading = asyncio.create_task(remains(peer))
        await pour(peer, opening() + NEVER)
        for start in range(0, 50_000, 50):
            if not await pour(peer, b"".join(make(i) for i in range(start, start + 50))):
                break
            await asyncio.sleep(0)
            if reading.done():
                break
        else:
            pytest.fail("50,000 of them were taken")
        said = await reading
        peer.writer.transport.abort()
    told = [payload for kind, _, _, payload in frames_of(said) if kind == GOAWAY]
    # A reset, where it wrote into a connection that we had closed, may overtake it.
    assert not told or int.from_bytes(told[-1][4:8], "big") == code
    figures = await target.settled()
    assert figures["stats"]["http2_faults"] > 0


async def test_a_window_that_never_opens(target: Gate) -> None:
    """Large responses, of which the client takes nothing (CVE-2019-9511, 9517): each of
    their streams holds what a stream may hold, and no more.
    """
    before = await target.figures()
    async with target.attack(memory=STREAMS * HELD):
        peer = await target.dial()
        await pour(peer, opening((INITIAL_WINDOW_SIZE, 0)))
        asked = b"".join(headers(stream_of(i), *head(b"/large")) for i in range(STREAMS))
        await pour(peer, asked)
        async with asyncio.timeout(30):
            while (await target.figures())["active"] < STREAMS:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        held = await target.figures()
        assert held["streams"] >= STREAMS
        assert held["resident"] - before["resident"] <= STREAMS * HELD + 8 * MIB
        peer.writer.transport.abort()
    await target.settled()


async def test_windows_that_open_byte_by_byte(target: Gate) -> None:
    async with target.attack():
        peer = await target.dial()
        reading = asyncio.create_task(remains(peer))
        asked = b"".join(headers(stream_of(i), *head(b"/large")) for i in range(20))
        await pour(peer, opening((INITIAL_WINDOW_SIZE, 0)) + asked)
        drip = b"".join(frame(WINDOW_UPDATE, 0, stream_of(i), b"\0\0\0\x01") for i in range(20))
        for _ in range(300):
            if not await pour(peer, drip) or reading.done():
                break
        peer.writer.transport.abort()
        await reading
    await target.settled()


async def test_responses_that_nobody_reads(target: Gate) -> None:
    """Heads have no window: what is asked for and not read is bounded all the same."""
    async with target.attack():
        peer = await target.dial(room=4096)
        await pour(peer, opening())
        # As many at a time as a client may have: it is not their number that ends it.
        for start in range(0, 4000, 100):
            batch = [headers(stream_of(i), *head(b"/heads")) for i in range(start, start + 100)]
            if not await pour(peer, b"".join(batch)):
                break
            async with asyncio.timeout(10):
                while (await target.figures())["active"]:
                    await asyncio.sleep(0.01)
        else:
            pytest.fail("4,000 responses were written to nobody")
        peer.writer.transport.abort()
    await target.settled()


async def test_answers_that_nobody_reads(target: Gate) -> None:
    async with target.attack():
        peer = await target.dial(room=4096)
        await pour(peer, opening())
        for _ in range(20_000):
            if not await pour(peer, frame(PING, 0, 0, bytes(8)) * 100):
                break
            await asyncio.sleep(0.1 if _ % 10 == 9 else 0)
        peer.writer.transport.abort()
    await target.settled()


async def test_what_is_no_preface(target: Gate) -> None:
    async with target.attack():
        for beginning in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", b"PRI * HTTP/2.0\r\n\r\nGET / "):
            peer = await target.dial()
            await pour(peer, beginning)
            assert b" 400 " in await remains(peer) or True
            peer.writer.transport.abort()
        peer = await target.dial()
        await pour(peer, opening()[:24] + frame(PING, 0, 0, bytes(8)))
        assert frames_of(await remains(peer))[-1][0] == GOAWAY
        peer.writer.transport.abort()
    await target.settled()
