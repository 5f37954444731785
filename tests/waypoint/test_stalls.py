"""Who may take its time, and who may not; tests/attacks has those who abuse it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from tests.waypoint.mesh import Mesh, host, routes, running, service, to, until
from tests.waypoint.wire import Peer, client, dial, ok, request, upstream
from waypoint.holds import UPSTREAM
from waypoint.overload import Level
from waypoint.worker import Limits

QUICK = Limits(head=1.0, stalled=0.05)


async def answers(peer: Peer) -> None:
    await peer.head()
    await peer.until(b"0\r\n\r\n")
    await peer.send(ok())


def serve(mesh: Mesh, port: int, **action: object) -> None:
    route = {"match": {"prefix": "/"}, "route": to("web", **action)}
    mesh.push(service("web", routes("web", host(route))))
    mesh.pod("web-1", "web", port)
    mesh.ask("web")


def moved(down: Any, tick: int) -> bool:
    return bool(down.tick != tick)


async def looks(mesh: Mesh) -> None:
    """Wait until the client's connection was looked at twice."""
    (down,) = mesh.worker.downstreams
    for _ in range(2):
        before = down.tick
        await until(partial(moved, down, before))


async def test_a_body_of_no_known_length_may_pause() -> None:
    async with running(QUICK) as mesh, upstream(answers) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(request("/", "Transfer-Encoding: chunked", method="POST"))
            await until(lambda: mesh.worker.active)
            await looks(mesh)
            await peer.send(b"0\r\n\r\n")
            assert (await peer.response())[0].startswith(b"http/1.1 200 ")


async def test_a_route_s_own_idle_time_counts_instead() -> None:
    async def takes(peer: Peer) -> None:
        await peer.head()
        await peer.exactly(2)
        await peer.send(ok())

    async with running(QUICK) as mesh, upstream(takes) as server:
        serve(mesh, server.port, idleTimeout="0s")
        async with client(mesh) as peer:
            await peer.send(request("/", "Content-Length: 2", method="POST"))
            await until(lambda: mesh.worker.active)
            await looks(mesh)
            await peer.send(b"ab")
            assert (await peer.response())[0].startswith(b"http/1.1 200 ")


async def test_not_while_it_is_tight() -> None:
    async with running(QUICK) as mesh, upstream(answers) as server:
        serve(mesh, server.port, idleTimeout="0s")
        async with client(mesh) as peer:
            await peer.send(request("/", "Transfer-Encoding: chunked", method="POST"))
            await until(lambda: mesh.worker.active)
            mesh.worker.set_level(Level.TIGHT)
            assert (await peer.response())[0].startswith(b"http/1.1 408 ")
        (line,) = await mesh.lines(1)
        assert " 408 SI stream_idle_timeout " in line


async def test_an_endpoint_that_takes_nothing_is_not_the_client_s_fault() -> None:
    async def never(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with running(QUICK) as mesh, upstream(never) as server:
        serve(mesh, server.port)
        peer = await dial(mesh)
        size = 32 * 1024 * 1024
        peer.writer.write(request("/", f"Content-Length: {size}", method="POST") + bytes(size))
        await until(lambda: mesh.worker.downstreams)
        (down,) = mesh.worker.downstreams
        await until(lambda: getattr(down, "holds", 0) & UPSTREAM)
        await looks(mesh)
        assert mesh.worker.stats.stalled == 0
        peer.writer.transport.abort()
