"""What is counted of gRPC's own client and server, with the waypoint between them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import grpc
import h2.events
import pytest

from tests.waypoint.grpc_service import Client, grpc_server
from tests.waypoint.http2.peers import H2, client2, fields, upstream2
from tests.waypoint.http2.test_upstream import LARGE, ask, serve
from tests.waypoint.mesh import Mesh, host, routes, running, service, to, until
from tests.waypoint.test_exchange import closed_port
from waypoint.metrics.gather import gather
from waypoint.metrics.labels import MESSAGES
from ztunnel_compat.model import AppProtocol

GRPC = (("content-type", "application/grpc"), ("te", "trailers"))


def told(mesh: Mesh) -> tuple[int, int]:
    """Messages to the endpoint and to the client, as Prometheus would be told now."""
    rows = gather(mesh.worker, 0, 0).messages.values()
    return sum(row[0] for row in rows), sum(row[1] for row in rows)


async def test_every_kind_of_call() -> None:
    async with running() as mesh:
        with grpc_server() as (_, port):
            serve(mesh, port)

            def question(client: Client) -> None:
                client.unary(b"hello")
                client.unary(b"")
                assert len(list(client.serverstream(b"1000"))) == 1000
                client.clientstream(iter([b"a", b"b", b"c"]))
                list(client.bidi(iter([LARGE] * 20)))
                list(client.bidi(iter([])))

            await ask(mesh, question)
        await mesh.lines(6)
        assert told(mesh) == (1 + 1 + 1 + 3 + 20, 1 + 1 + 1000 + 1 + 20)
        assert not mesh.worker.calls
        ((labels, _),) = mesh.worker.recorder.messages.rows.items()
        named = dict(zip(MESSAGES, labels, strict=True))
        assert named["reporter"] == "waypoint"
        assert named["source_workload_namespace"] == "apps"
        assert named["destination_service_name"] == "web"
        assert "response_code" not in named


async def test_a_compressed_message_is_one() -> None:
    async with running() as mesh:
        with grpc_server() as (_, port):
            serve(mesh, port)

            def question(client: Client) -> None:
                client.unary(b"a" * 10_000, compression=grpc.Compression.Gzip)

            await ask(mesh, question)
        await mesh.lines(1)
        assert told(mesh) == (1, 1)


async def test_a_call_is_told_of_while_it_lasts_and_counts_once() -> None:
    async with running() as mesh:
        with grpc_server() as (_, port):
            serve(mesh, port)
            seen, go_on = threading.Event(), threading.Event()

            def question(client: Client) -> None:
                def messages() -> Iterator[bytes]:
                    yield b"ab"
                    yield b"cd"
                    assert go_on.wait(5)
                    yield b"ef"

                replies = client.bidi(messages())
                assert [next(replies), next(replies)] == [b"ba", b"dc"]
                seen.set()
                assert list(replies) == [b"fe"]

            asking = asyncio.ensure_future(ask(mesh, question))
            await asyncio.to_thread(seen.wait, 5)
            assert told(mesh) == told(mesh) == (2, 2)
            go_on.set()
            await asking
        await mesh.lines(1)
        assert told(mesh) == (3, 3)


async def test_a_client_that_gives_up_has_its_messages_counted() -> None:
    async with running() as mesh:
        with grpc_server() as (service, port):
            serve(mesh, port)

            def question(client: Client) -> None:
                call = client.endless(b"x")
                assert next(call) == b"x"
                call.cancel()

            await ask(mesh, question)
            await asyncio.to_thread(service.cancelled.wait, 5)
        await mesh.lines(1)
        assert told(mesh) == (1, 1)
        assert not mesh.worker.calls


async def test_a_call_that_gets_nowhere() -> None:
    async with running() as mesh:
        serve(mesh, closed_port())

        def question(client: Client) -> None:
            with pytest.raises(grpc.RpcError):
                client.unary(b"x")

        await ask(mesh, question)
        await mesh.lines(1)
        assert told(mesh)[1] == 0
        assert not mesh.worker.calls


async def test_what_waits_for_an_endpoint_is_not_told_of_yet() -> None:
    async with running() as mesh:
        serve(mesh, 9)
        async with client2(mesh) as peer:
            route = {"match": {"prefix": "/"}, "route": to("web")}
            mesh.push(service("web", routes("web", host(route)), speaks=AppProtocol.GRPC))
            await peer.send(1, fields("/t.S/unary", *GRPC, method="POST"))
            await until(lambda: mesh.worker.stats.requests == 1)
            gather(mesh.worker, 0, 0)
        await mesh.lines(1)


async def without_trailers(server: H2) -> None:
    """Answers with a message that ends the stream."""
    seen = await server.next(h2.events.RequestReceived)
    assert seen.stream_id is not None
    server.conn.send_headers(seen.stream_id, [(b":status", b"200")])
    server.conn.send_data(seen.stream_id, b"\0\0\0\0\1x", end_stream=True)
    await server.flush()
    await server.read()


async def test_a_message_that_ends_the_stream_counts() -> None:
    async with running() as mesh, upstream2(without_trailers) as server:
        serve(mesh, server.port)
        async with client2(mesh) as peer:
            stream = await peer.get("/t.S/unary", *GRPC)
            await peer.response(stream)
        await mesh.lines(1)
        assert told(mesh) == (0, 1)


async def test_other_requests_are_no_calls() -> None:
    async with running() as mesh, upstream2(without_trailers) as server:
        serve(mesh, server.port)
        async with client2(mesh) as peer:
            stream = await peer.get()
            assert (await peer.response(stream))[1] == b"\0\0\0\0\1x"
        await mesh.lines(1)
        assert not gather(mesh.worker, 0, 0).messages
