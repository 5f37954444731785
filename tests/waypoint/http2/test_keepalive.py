"""PINGs to endpoints that may have gone silently."""

from __future__ import annotations

import asyncio

import h2.events

from tests.waypoint.http2.peers import H2, answer, client2, upstream2
from tests.waypoint.mesh import Mesh, running, service, until
from tests.waypoint.test_cluster_settings import http
from tests.waypoint.test_clusters import settings
from ztunnel_compat.model import AppProtocol


def serve(mesh: Mesh, port: int, interval: str, timeout: str) -> None:
    pings = {"interval": interval, "timeout": timeout, "intervalJitter": {"value": 0}}
    options = {"explicitHttpConfig": {"http2ProtocolOptions": {"connectionKeepalive": pings}}}
    mesh.push(service("web", settings(**http(**options)), speaks=AppProtocol.HTTP2))
    mesh.pod("web-1", "web", port)
    mesh.ask("web")


async def test_an_endpoint_that_answers_is_kept() -> None:
    pinged = asyncio.Event()

    async def handle(server: H2) -> None:
        while await server.read():
            found = [e for e in server.events if isinstance(e, h2.events.PingReceived)]
            if len(found) > 2:
                pinged.set()
                event = await server.next(h2.events.StreamEnded)
                head = await server.next(h2.events.RequestReceived)
                await answer(server, head, heads := {}, {})
                await answer(server, event, heads, {})

    async with running() as mesh, upstream2(handle) as server:
        serve(mesh, server.port, "0.01s", "5s")
        async with client2(mesh) as peer:
            stream = await peer.get("/x")
            await pinged.wait()
            assert (await peer.response(stream))[1] == b"GET /x "
        assert mesh.worker.stats.keepalive_timeouts == 0


async def test_an_endpoint_that_does_not_answer_is_given_up() -> None:
    async def handle(server: H2) -> None:
        await asyncio.Event().wait()

    async with running() as mesh, upstream2(handle) as server:
        serve(mesh, server.port, "0.02s", "0.05s")
        async with client2(mesh) as peer:
            head, _ = await peer.response(await peer.get())
            assert head[b":status"] == b"503"
        await until(lambda: mesh.worker.stats.keepalive_timeouts == 1)
        (text,) = await mesh.lines(1)
        assert " 503 UC " in text
