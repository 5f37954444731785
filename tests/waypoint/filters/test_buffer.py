"""Bounds on bodies, in each protocol and framing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h2.events
import pytest
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2 as pb
from google.protobuf.wrappers_pb2 import UInt32Value

from tests.waypoint.http2.peers import client2, fields
from tests.waypoint.mesh import Mesh, filters, host, routes, running, service, to, until
from tests.waypoint.wire import Peer, client, ok, request, upstream
from waypoint.errors import RouteError
from waypoint.filters.buffer import MOST
from waypoint.filters.decode_buffer import build, override

BUFFER = pb.Buffer(max_request_bytes=UInt32Value(value=10))


@asynccontextmanager
async def bounded() -> AsyncIterator[tuple[Mesh, list[bytes]]]:
    """A service whose requests have 10 bytes at most, and what its endpoint gets."""
    seen: list[bytes] = []

    async def handle(peer: Peer) -> None:
        while True:
            head = await peer.head()
            content = b""
            if b"chunked" in head.lower():
                content = await peer.until(b"0\r\n\r\n")
            elif b"content-length: " in head.lower():
                size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                content = await peer.exactly(size)
            seen.append(content)
            await peer.send(ok())

    name = pb.Buffer.DESCRIPTOR.full_name
    kind = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute"
    free = {name: {"@type": kind, "disabled": True}}
    wide = {name: {"@type": kind, "buffer": {"maxRequestBytes": 20}}}
    table = routes(
        "web",
        host(
            {"match": {"path": "/free"}, "route": to("web"), "typedPerFilterConfig": free},
            {"match": {"path": "/wide"}, "route": to("web"), "typedPerFilterConfig": wide},
            {"match": {"prefix": "/"}, "route": to("web")},
        ),
    )
    async with running() as mesh, upstream(handle) as server:
        mesh.push(service("web", filters("web", BUFFER), table))
        mesh.pod("web-1", "web", server.port)
        mesh.ask("web")
        yield mesh, seen


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/", 10, 200),
        ("/", 11, 413),
        ("/wide", 11, 200),
        ("/wide", 21, 413),
        ("/free", 99, 200),
    ],
)
async def test_a_length_is_refused_at_once(path: str, size: int, status: int) -> None:
    async with bounded() as (mesh, seen), client(mesh) as peer:
        await peer.send(request(path, f"Content-Length: {size}", method="POST"))
        if status == 200:
            await peer.send(b"x" * size)
        head, _body = await peer.response()
        assert head.startswith(b"http/1.1 %d " % status)
        assert seen == ([b"x" * size] if status == 200 else [])


async def test_chunks_are_counted_and_nothing_goes_on_before_all_are_there() -> None:
    async with bounded() as (mesh, seen), client(mesh) as peer, client(mesh) as other:
        for one in (peer, other):
            await one.send(request("/", "Transfer-Encoding: chunked", method="POST"))
            await one.send(b"5\r\nhello\r\n")
        await until(lambda: mesh.worker.active == 2)
        assert mesh.worker.stats.upstream_connections == 0
        await peer.send(b"0\r\n\r\n")
        assert (await peer.response())[0].startswith(b"http/1.1 200 ")
        await other.send(b"6\r\nworlds\r\n")
        assert (await other.response())[0].startswith(b"http/1.1 413 ")
        assert len(seen) == 1
        assert any(" 413 - request_payload_too_large " in line for line in await mesh.lines(2))


async def test_who_asks_whether_a_body_is_wanted_is_told_so() -> None:
    more = ("Expect: 100-continue", "Content-Length: 10")
    async with bounded() as (mesh, seen), client(mesh) as peer, client2(mesh) as two:
        await peer.send(request("/", *more, method="POST"))
        assert (await peer.head()).startswith(b"HTTP/1.1 100 Continue\r\n")
        assert mesh.worker.stats.upstream_connections == 0
        await peer.send(b"x" * 10)
        assert (await peer.response())[0].startswith(b"http/1.1 200 ")
        stream = two.conn.get_next_available_stream_id()
        asked = (("expect", "100-continue"), ("content-length", "10"))
        await two.send(stream, fields("/", *asked, method="POST"))
        await two.next(h2.events.InformationalResponseReceived, stream)
        await two.data(stream, b"x" * 10, end=True)
        head = await two.next(h2.events.ResponseReceived, stream)
        assert dict(head.headers)[b":status"] == b"200"
        assert seen == [b"x" * 10] * 2
        await peer.send(request("/", more[0], "Content-Length: 11", method="POST"))
        assert (await peer.response())[0].startswith(b"http/1.1 413 ")


async def test_streams_are_counted() -> None:
    async with bounded() as (mesh, seen), client2(mesh) as peer:
        for size, status in ((10, b"200"), (11, b"413")):
            stream = peer.conn.get_next_available_stream_id()
            await peer.send(stream, fields(method="POST"))
            await peer.data(stream, b"x" * size, end=size == 10)
            head = await peer.next(h2.events.ResponseReceived, stream)
            assert dict(head.headers)[b":status"] == status
        assert len(seen) == 1


@pytest.mark.parametrize("size", [0, MOST + 1])
def test_bounds_out_of_range_are_named(size: int) -> None:
    message = pb.Buffer(max_request_bytes=UInt32Value(value=size))
    with pytest.raises(RouteError, match=f"at.max_request_bytes {size} is not in 1…"):
        build("b", message.SerializeToString(), "at.")
    nested = pb.BufferPerRoute(buffer=message)
    with pytest.raises(RouteError, match=r"at.buffer.max_request_bytes"):
        override(nested.SerializeToString(), "at.")
