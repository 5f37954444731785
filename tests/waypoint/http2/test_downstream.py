"""Streams' ends, refusals and what HTTP/1.1 must never be told, with hand-made frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import h2.errors
import h2.events
import pytest
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame

from tests.waypoint.http2.peers import H2, client2, echo, fields, upstream2
from tests.waypoint.mesh import Mesh, running, service, until
from tests.waypoint.wire import Peer, client, request, upstream
from waypoint.http2.wire import BOUND, QUEUE, WINDOW
from ztunnel_compat.model import AppProtocol

HTTP1, HTTP2 = AppProtocol.HTTP11, AppProtocol.HTTP2
REFUSED = h2.errors.ErrorCodes.REFUSED_STREAM


def serve(mesh: Mesh, speaks: AppProtocol, port: int = 9) -> None:
    mesh.push(service("web", speaks=speaks))
    mesh.pod("web-1", "web", port)
    mesh.ask("web")


async def requested(server: H2) -> int:
    """The next request's stream."""
    seen = await server.next(h2.events.RequestReceived)
    assert seen.stream_id is not None
    return seen.stream_id


@pytest.mark.parametrize(
    "more",
    [
        (("x", "a\r\nb: c"),),
        (("x", "a\nb: c"),),
        (("x", "a\0b"),),
        (("transfer-encoding", "chunked"),),
        (("connection", "close"),),
        (("upgrade", "h2c"),),
        (("content-length", "5"),),
        (("host", "other"),),
        (("X", "upper"),),
        (("te", "gzip"),),
    ],
)
async def test_what_could_pose_as_more_in_http1_never_gets_there(
    more: tuple[tuple[str, str], ...],
) -> None:
    async with running() as mesh, upstream() as server:
        serve(mesh, HTTP1, server.port)
        async with client2(mesh, checks=False) as peer:
            await peer.send(1, fields("/", *more), end=True)
            ended = await peer.next(h2.events.StreamReset, 1)
            assert ended.error_code == h2.errors.ErrorCodes.PROTOCOL_ERROR
            assert (await peer.response(await peer.get()))[0][b":status"] == b"200"
        assert len(server.heads) == 1


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({":path": "/a b"}, b"400"),
        ({":path": "/a HTTP/1.1"}, b"400"),
        ({":path": "/#x"}, b"400"),
        ({":path": "/\u00e9"}, b"400"),
        ({":method": "GET /x"}, b"400"),
        ({":authority": "a b"}, b"400"),
        ({":scheme": "ftp"}, b"400"),
    ],
)
async def test_what_no_request_line_can_hold_is_400(
    changed: dict[str, str], status: bytes
) -> None:
    async with running() as mesh, upstream() as server:
        serve(mesh, HTTP1, server.port)
        async with client2(mesh, checks=False) as peer:
            section = dict(fields())
            section.update({name.encode(): value.encode() for name, value in changed.items()})
            await peer.send(1, list(section.items()), end=True)
            assert (await peer.response(1))[0][b":status"] == status
        assert server.heads == []
        (text,) = await mesh.lines(1)
        assert f'] "- - HTTP/2" {status.decode()} ' in text


async def test_too_many_headers_and_connect() -> None:
    async with running() as mesh:
        serve(mesh, HTTP1)
        async with client2(mesh) as peer:
            many = [(f"x-{number}", "1") for number in range(120)]
            stream = await peer.get("/", *many)
            assert (await peer.response(stream))[0][b":status"] == b"431"
            stream = peer.conn.get_next_available_stream_id()
            await peer.send(stream, [(b":method", b"CONNECT"), (b":authority", b"a:1")])
            head = await peer.next(h2.events.ResponseReceived, stream)
            assert dict(head.headers)[b":status"] == b"403"


async def test_a_length_that_lies_ends_the_stream_and_the_endpoint_s_request() -> None:
    ended: list[bytes] = []

    async def sink(peer: Peer) -> None:
        try:
            ended.append(await peer.rest())
        except ConnectionResetError:
            ended.append(b"reset")

    async with running() as mesh, upstream(sink) as server:
        serve(mesh, HTTP1, server.port)
        async with client2(mesh, checks=False) as peer:
            await peer.send(1, fields("/", ("content-length", "5"), method="POST"))
            await until(lambda: server.connections)
            await peer.data(1, b"abc", end=True)
            await peer.next(h2.events.StreamReset, 1)
        await until(lambda: ended)
        (text,) = await mesh.lines(1)
        assert " 0 DPE http2.violation.of.messaging.rule " in text


async def test_a_refused_stream_goes_again_with_its_body() -> None:
    async def refuses_once(server: H2) -> None:
        stream = await requested(server)
        await server.next(h2.events.StreamEnded, stream)
        server.conn.reset_stream(stream, REFUSED)
        await server.flush()
        server.events.clear()
        await echo(server)

    async with running() as mesh, upstream2(refuses_once) as server:
        serve(mesh, HTTP2, server.port)
        async with client2(mesh) as peer:
            await peer.send(1, fields(method="PUT"))
            await peer.data(1, b"abc", end=True)
            assert (await peer.response(1))[1] == b"PUT / abc"
        assert mesh.worker.stats.retries["refused-stream"] == 1


async def test_what_a_goaway_leaves_out_goes_to_a_new_connection() -> None:
    made = 0

    async def goes(server: H2) -> None:
        nonlocal made
        made += 1
        if made > 1:
            await echo(server)
            return
        first = await requested(server)
        await requested(server)
        frame = GoAwayFrame(stream_id=0, last_stream_id=first, error_code=0)
        await server.peer.send(frame.serialize())
        await server.send(first, [(b":status", b"204")], end=True)
        while await server.read():
            pass

    async with running() as mesh, upstream2(goes) as server:
        serve(mesh, HTTP2, server.port)
        async with client2(mesh) as peer:
            one = await peer.get("/1")
            two = await peer.get("/2")
            assert (await peer.response(one))[0][b":status"] == b"204"
            assert (await peer.response(two))[1] == b"GET /2 "
        assert server.connections == 2
        assert mesh.worker.stats.retries["refused-stream"] == 1


async def test_an_endpoint_that_refuses_for_ever_is_503() -> None:
    async def refuses(server: H2) -> None:
        while True:
            server.conn.reset_stream(await requested(server), REFUSED)
            await server.flush()

    async with running() as mesh, upstream2(refuses) as server:
        serve(mesh, HTTP2, server.port)
        async with client2(mesh) as peer:
            assert (await peer.response(await peer.get()))[0][b":status"] == b"503"
        (text,) = await mesh.lines(1)
        assert "{remote_refused_stream_reset} " in text


@pytest.mark.parametrize("body", [b"", b"part"])
async def test_resets_of_the_endpoint_reach_either_client(body: bytes) -> None:
    async def resets(server: H2) -> None:
        while True:
            stream = await requested(server)
            if body:
                await server.send(stream, [(b":status", b"200")])
                await server.data(stream, body)
            server.conn.reset_stream(stream, h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
            await server.flush()

    async with running() as mesh, upstream2(resets) as server:
        serve(mesh, HTTP2, server.port)
        async with client2(mesh) as new, client(mesh) as old:
            stream = await new.get()
            await old.send(request())
            if body:
                ended = await new.next(h2.events.StreamReset, stream)
                assert ended.error_code == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
                await old.head()
                assert await old.rest() == b"4\r\npart\r\n"
            else:
                assert (await new.response(stream))[0][b":status"] == b"503"
                assert (await old.head()).startswith(b"HTTP/1.1 503 ")
        when = "after" if body else "before"
        for text in await mesh.lines(2):
            assert f" UR upstream_reset_{when}_response_started{{remote_reset}} " in text


async def test_an_endpoint_that_breaks_the_protocol_is_502() -> None:
    async def breaks(server: H2) -> None:
        await requested(server)
        await server.peer.send(b"\0\0\1\0\0\0\0\0\0x")
        while await server.peer.reader.read(4096):
            pass

    async with running() as mesh, upstream2(breaks) as server:
        serve(mesh, HTTP2, server.port)
        async with client2(mesh) as peer:
            assert (await peer.response(await peer.get()))[0][b":status"] == b"502"
        (text,) = await mesh.lines(1)
        assert " 502 UPE upstream_reset_before_response_started{protocol_error} " in text


async def test_a_client_s_reset_reaches_either_endpoint() -> None:
    saw: list[object] = []

    async def in_http1(peer: Peer) -> None:
        await peer.rest()
        saw.append("end")

    async def in_http2(server: H2) -> None:
        saw.append((await server.next(h2.events.StreamReset)).error_code)
        await server.read()

    async with running() as mesh, upstream(in_http1) as one, upstream2(in_http2) as two:
        for speaks, port in ((HTTP1, one.port), (HTTP2, two.port)):
            serve(mesh, speaks, port)
            async with client2(mesh) as peer:
                stream = await peer.get()
                await until(lambda: mesh.worker.stats.upstream_connections)
                peer.conn.reset_stream(stream)
                await peer.flush()
                await until(lambda: saw)
                assert saw.pop() in {"end", h2.errors.ErrorCodes.CANCEL}
                mesh.worker.stats.upstream_connections = 0
        assert all(" 0 DR http2.remote_reset " in text for text in await mesh.lines(2))


async def test_a_client_that_doesn_t_read_holds_its_stream_alone() -> None:
    sent = 0

    async def floods(server: H2) -> None:
        nonlocal sent
        slow = await requested(server)
        await server.send(slow, [(b":status", b"200")])
        while True:
            room = min(server.conn.local_flow_control_window(slow), 16384)
            if room:
                await server.data(slow, b"x" * room)
                sent += room
                continue
            for event in list(server.events):
                if isinstance(event, h2.events.RequestReceived):
                    server.events.remove(event)
                    assert event.stream_id is not None
                    await server.send(event.stream_id, [(b":status", b"204")], end=True)
            if not await server.read():
                return

    async with running() as mesh, upstream2(floods) as server:
        serve(mesh, HTTP2, server.port)
        async with client2(mesh) as peer:
            peer.credits = False
            slow = await peer.get("/slow")
            await peer.next(h2.events.DataReceived, slow)
            other = await peer.get("/other")
            assert (await peer.response(other))[0][b":status"] == b"204"
            await asyncio.sleep(0.1)
            # The client's own window, and what the waypoint may hold.
            assert sent <= 65_535 + WINDOW + QUEUE + 16384 < 65_535 + BOUND


async def test_drain_tells_clients_and_lets_streams_end() -> None:
    go_on = asyncio.Event()

    async def waits(server: H2) -> None:
        stream = await requested(server)
        await go_on.wait()
        await server.send(stream, [(b":status", b"204")], end=True)
        await server.read()

    async with running() as mesh, upstream2(waits) as server:
        serve(mesh, HTTP2, server.port)
        async with client2(mesh) as made:
            await made.get()
            await until(lambda: server.connections)
            draining = asyncio.create_task(mesh.server.drain(5))
            # The h2 library takes nothing more after a GOAWAY, not even the PING that
            # asks whether it has arrived.
            frames = read_frames(made.peer)
            first = await anext(frame async for frame in frames if frame.stream_id == 0
                                and isinstance(frame, GoAwayFrame))  # fmt: skip
            assert first.last_stream_id == 2**31 - 1
            ping = await anext(frame async for frame in frames if isinstance(frame, PingFrame))
            ping.flags.add("ACK")
            await made.peer.send(ping.serialize())
            final = await anext(f async for f in frames if isinstance(f, GoAwayFrame))
            assert final.last_stream_id == 1
            go_on.set()
            await anext(f async for f in frames if isinstance(f, HeadersFrame))
            assert [f async for f in frames if isinstance(f, RstStreamFrame)] == []
            await draining


async def read_frames(peer: Peer) -> AsyncIterator[Frame]:
    """Frames up to the connection's end."""
    while True:
        try:
            frame, length = Frame.parse_frame_header(memoryview(await peer.exactly(9)))
        except asyncio.IncompleteReadError:
            return
        frame.parse_body(memoryview(await peer.exactly(length)))
        yield frame
