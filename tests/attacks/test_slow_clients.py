"""Clients that take their time, each holding what others could use (slow loris)."""

from __future__ import annotations

import asyncio

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
    raw,
    remains,
)
from tests.waypoint.wire import Peer, ok
from tests.ztunnel_compat.h2.ends import frame
from ztunnel_compat.h2.codes import (
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    RST_STREAM,
    WINDOW_UPDATE,
)

LARGE = ok(bytes(8 * MIB))
#: Those of the clients below that are told apart from one that is just there.
STALLED = 7


async def answers(peer: Peer) -> None:
    """Answers ``/large`` with much, and what has a body once that is there."""
    while True:
        asked = await peer.reader.readuntil(b"\r\n\r\n")
        if asked.startswith(b"POST"):
            await peer.reader.readexactly(1000)
        await peer.send(LARGE if b" /large " in asked else ok())


async def test_whoever_goes_on_too_slowly_is_ended() -> None:
    """All of them at once, beside a bystander."""
    async with besieged(answers, head=0.2, stalled=0.4) as target:
        async with target.attack(), asyncio.TaskGroup() as group:
            group.create_task(heads_that_don_t_get_whole(target))
            group.create_task(a_preface_that_doesn_t_get_whole(target))
            for part in ("frame", "block"):
                group.create_task(header_blocks_that_don_t_get_whole(target, part))
            group.create_task(bodies_that_don_t_come(target))
            group.create_task(bodies_that_don_t_come_in_http2(target))
            group.create_task(a_response_that_is_not_read(target))
            group.create_task(a_response_without_a_window(target))
            group.create_task(an_http2_connection_that_is_not_read(target))
        found = await target.settled()
        assert found["stats"]["stalled"] == STALLED


async def drip(peer: Peer, data: bytes) -> None:
    """Send a little now and then, until nobody takes it."""
    while await pour(peer, data):
        await asyncio.sleep(0.05)


async def end_of(peer: Peer, data: bytes) -> bytes:
    """What is said to somebody who goes on dripping."""
    dripping = asyncio.create_task(drip(peer, data))
    said = await remains(peer)
    dripping.cancel()
    peer.writer.transport.abort()
    return said


async def heads_that_don_t_get_whole(target: Gate) -> None:
    peers = [await target.dial() for _ in range(50)]
    for peer in peers:
        await pour(peer, b"GET / HTTP/1.1\r\nHost: web\r\n")
    said = await asyncio.gather(*(end_of(peer, b"X: a\r\n") for peer in peers))
    assert all(s.startswith(b"HTTP/1.1 408 ") for s in said)


async def a_preface_that_doesn_t_get_whole(target: Gate) -> None:
    peer = await target.dial()
    await pour(peer, b"PRI * HTTP/2.0\r\n")
    assert (await remains(peer)).startswith(b"HTTP/1.1 4")
    peer.writer.transport.abort()


async def header_blocks_that_don_t_get_whole(target: Gate, part: str) -> None:
    peer = await target.dial()
    if part == "frame":
        await pour(peer, opening() + frame(HEADERS, 4, 1, bytes(500))[:20])
        said = await end_of(peer, b"\0")
    else:
        await pour(peer, opening() + frame(HEADERS, 0, 1, block()))
        said = await end_of(peer, frame(CONTINUATION, 0, 1, b""))
    assert frames_of(said)[-1][0] == GOAWAY


async def bodies_that_don_t_come(target: Gate) -> None:
    peer = await target.dial()
    await pour(peer, raw("Content-Length: 1000", body=b"a"))
    said = await end_of(peer, b"a")
    assert said.startswith(b"HTTP/1.1 408 ")


async def bodies_that_don_t_come_in_http2(target: Gate) -> None:
    """Their stream alone ends."""
    peer = await target.dial()
    length = (b"content-length", b"1000")
    asked = headers(1, *head(b"/", length, method=b"POST"), end=False)
    await pour(peer, opening() + asked)
    dripping = asyncio.create_task(drip(peer, frame(DATA, 0, 1, b"a")))
    said = b""
    async with asyncio.timeout(10):
        while not any(s == 1 and flags & 1 for _, flags, s, _ in frames_of(said)):
            said += await peer.reader.read(65536)
    dripping.cancel()
    answer = next(p for kind, _, s, p in frames_of(said) if s == 1 and kind == HEADERS)
    assert b"408" in answer
    await pour(peer, headers(3, *head()))
    while not any(s == 3 for _, _, s, _ in frames_of(said)):
        data = await peer.reader.read(65536)
        assert data
        said += data
    peer.writer.transport.abort()


async def a_response_that_is_not_read(target: Gate) -> None:
    peer = await target.dial(room=4096)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await pour(peer, raw(method="GET").replace(b"/ ", b"/large ", 1))
    await gone(target)
    peer.writer.transport.abort()


async def a_response_without_a_window(target: Gate) -> None:
    peer = await target.dial()
    await pour(peer, opening((INITIAL_WINDOW_SIZE, 10)) + headers(1, *head(b"/large")))
    said = b""
    async with asyncio.timeout(10):
        while not any(k == RST_STREAM and s == 1 for k, _, s, _ in frames_of(said)):
            data = await peer.reader.read(65536)
            assert data
            said += data
    peer.writer.transport.abort()


async def an_http2_connection_that_is_not_read(target: Gate) -> None:
    peer = await target.dial(room=4096)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    asked = b"".join(headers(2 * i + 1, *head(b"/large")) for i in range(20))
    room = frame(WINDOW_UPDATE, 0, 0, (2**30).to_bytes(4, "big"))
    await pour(peer, opening((INITIAL_WINDOW_SIZE, 2**31 - 1)) + room + asked)
    await gone(target)
    peer.writer.transport.abort()


async def gone(target: Gate) -> None:
    """Wait until all of them were ended."""
    async with asyncio.timeout(10):
        while (await target.figures())["stats"]["stalled"] < STALLED:
            await asyncio.sleep(0.05)
