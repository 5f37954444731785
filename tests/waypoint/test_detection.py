"""Ports that don't say what they speak."""

from __future__ import annotations

from dataclasses import dataclass

import h2.events
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.waypoint.http2.peers import client2, echo, upstream2
from tests.waypoint.layers.test_sniff import hello
from tests.waypoint.mesh import Mesh, filters, host, routes, running, service, to, until
from tests.waypoint.wire import Peer, client, request, upstream
from waypoint.filters.registry import Kind
from waypoint.filters.verdicts import PASSED, Asked, HeadVerdict
from waypoint.worker import Limits
from ztunnel_compat.model import AppProtocol, Extension

ALLOW = {StringValue.DESCRIPTOR.full_name: Kind(lambda _name, _value, _at: Allow(), {})}


@dataclass(frozen=True)
class Allow:
    """A filter that lets every request through."""

    name: str = StringValue.DESCRIPTOR.full_name
    clusters: tuple[str, ...] = ()
    reads_connection: bool = False
    reads_path: bool = True

    def decide(self, asked: Asked) -> HeadVerdict:
        return PASSED


def serve(
    mesh: Mesh, port: int, speaks: AppProtocol = AppProtocol.UNKNOWN, *riding: Extension
) -> None:
    mesh.push(service("web", *riding, speaks=speaks))
    mesh.pod("web-1", "web", port)
    mesh.ask("web")


async def echoes(peer: Peer) -> None:
    while data := await peer.reader.read(65536):
        await peer.send(data)


async def test_http1_byte_by_byte() -> None:
    async with running(Limits(detect=60)) as mesh, upstream() as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            for byte in request():
                await peer.send(bytes([byte]))
            assert (await peer.response())[1] == b"hello"
        (text,) = await mesh.lines(1)
        assert '] "GET / HTTP/1.1" 200 ' in text


async def test_http2_goes_on_as_http2() -> None:
    async with running(Limits(detect=60)) as mesh, upstream2(echo) as server:
        serve(mesh, server.port)
        async with client2(mesh) as peer:
            await peer.get()
            assert await peer.next(h2.events.StreamEnded, 1)


async def test_tls_goes_through_and_its_name_is_logged() -> None:
    first = hello("a.example")
    for speaks in (AppProtocol.UNKNOWN, AppProtocol.TLS):
        async with running(Limits(detect=60)) as mesh, upstream(echoes) as server:
            serve(mesh, server.port, speaks)
            async with client(mesh) as peer:
                await peer.send(first[:7])
                await peer.send(first[7:])
                assert await peer.exactly(len(first)) == first
            (text,) = await mesh.lines(1)
            assert '] "- - -" 0 ' in text
            assert " a.example - " in text


async def test_http_on_a_port_for_tls_is_bytes() -> None:
    async with running(Limits(detect=60)) as mesh, upstream(echoes) as server:
        serve(mesh, server.port, AppProtocol.TLS)
        async with client(mesh) as peer:
            await peer.send(request())
            assert await peer.exactly(len(request())) == request()


async def test_a_server_that_speaks_first_is_heard_after_a_moment() -> None:
    async def greets(peer: Peer) -> None:
        await peer.send(b"220 hello\r\n")
        await echoes(peer)

    async with running() as mesh, upstream(greets) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            assert await peer.until(b"\n") == b"220 hello\r\n"
            await peer.send(b"HELO\r\n")
            assert await peer.until(b"\n") == b"HELO\r\n"
        assert mesh.worker.stats.detection_timeouts == 1


async def test_a_silent_client_of_a_port_with_routes_has_not_asked_yet() -> None:
    async with running(Limits(detect=0.01)) as mesh, upstream() as server:
        rule = {"match": {"prefix": "/"}, "route": to("web")}
        serve(mesh, server.port, AppProtocol.UNKNOWN, routes("web", host(rule)))
        async with client(mesh) as peer:
            await until(lambda: mesh.worker.undecided)
            assert [u.timer for u in mesh.worker.undecided] == [None]
            await peer.send(request())
            assert (await peer.response())[1] == b"hello"
        assert mesh.worker.stats.detection_timeouts == 0


async def test_what_would_go_past_filters_is_refused() -> None:
    async with running(Limits(detect=0.01), kinds=ALLOW) as mesh, upstream() as server:
        serve(mesh, server.port, AppProtocol.UNKNOWN, filters("web", StringValue()))
        async with client(mesh) as peer:
            await peer.send(request())
            assert (await peer.response())[1] == b"hello"
        for first in (b"GET /no-version\r\n\r\n", hello("a.example")):
            async with client(mesh) as peer:
                await peer.send(first)
                with pytest.raises(ConnectionResetError):
                    await peer.rest()
        async with client(mesh) as peer:
            # Who only looks whether somebody listens isn't worth a line.
            peer.writer.write_eof()
            assert await peer.rest() == b""
        assert mesh.worker.stats.refused == {"not_http": 2}


async def test_filters_that_come_later_hold_for_who_is_there() -> None:
    """Who was there before, and has said nothing yet or only bytes, doesn't go past them."""
    table = routes("web", host({"match": {"prefix": "/"}, "route": to("web")}))
    async with running(Limits(detect=60), kinds=ALLOW) as mesh, upstream(echoes) as server:
        serve(mesh, server.port, AppProtocol.UNKNOWN, table)
        async with client(mesh) as silent, client(mesh) as peer:
            await peer.send(b"hi there\r\n\r\n")
            assert await peer.exactly(12) == b"hi there\r\n\r\n"
            await until(lambda: len(mesh.worker.undecided) == 1)
            mesh.push(service("web", table, speaks=AppProtocol.UNKNOWN))
            await peer.send(b"more")
            assert await peer.exactly(4) == b"more"
            allow = filters("web", StringValue())
            mesh.push(service("web", table, allow, speaks=AppProtocol.UNKNOWN))
            with pytest.raises(ConnectionResetError):
                await peer.rest()
            await silent.send(b"hi there\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                await silent.rest()
        assert mesh.worker.stats.refused == {"not_http": 2}
        (text,) = await mesh.lines(1)
        assert " not_http " in text


async def test_a_client_that_ends_early_is_relayed() -> None:
    async with running(Limits(detect=60)) as mesh, upstream(echoes) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(b"GET")
            peer.writer.write_eof()
            assert await peer.rest() == b"GET"


async def test_part_of_a_preface_times_out_as_a_head_does() -> None:
    async with running(Limits(head=0.1)) as mesh:
        serve(mesh, 9, AppProtocol.HTTP11)
        async with client(mesh) as peer:
            await peer.send(b"PRI * HT")
            head, _ = await peer.response()
            assert head.startswith(b"http/1.1 408 ")


async def test_drain_closes_what_is_undecided() -> None:
    async with running() as mesh:
        serve(mesh, 9, AppProtocol.HTTP11)
        async with client(mesh) as peer:
            await peer.send(b"P")
            await until(lambda: any(u.first for u in mesh.worker.undecided))
            await mesh.server.drain(5)
            assert await peer.rest() == b""
