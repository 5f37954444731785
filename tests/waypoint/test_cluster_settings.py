"""What a cluster says of its connections, on real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import h2.events
import pytest

from tests.waypoint.http2.peers import H2, client2, echo, upstream2
from tests.waypoint.mesh import HTTP_PORT, TCP_PORT, Mesh, hostname, running, service, until
from tests.waypoint.test_clusters import settings
from tests.waypoint.wire import Peer, client, ok, upstream
from waypoint.cluster import Cluster
from waypoint.cluster_settings import FOREVER, HttpSettings
from waypoint.clusters import cluster_name
from waypoint.http2.wire import CLIENT, client_settings
from waypoint.resilience.breakers import Resource
from ztunnel_compat.model import AppProtocol, Extension

OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def http(**options: Any) -> dict[str, Any]:
    """The fields of a Cluster that says how HTTP is spoken."""
    if "explicitHttpConfig" not in options:
        options["explicitHttpConfig"] = {"httpProtocolOptions": {}}
    message = {"@type": f"type.googleapis.com/{OPTIONS}", **options}
    return {"typedExtensionProtocolOptions": {OPTIONS: message}}


def http2(**options: Any) -> dict[str, Any]:
    return http(explicitHttpConfig={"http2ProtocolOptions": options})


def bounded(connections: int) -> dict[str, Any]:
    return {"circuitBreakers": {"thresholds": [{"maxConnections": connections}]}}


def serve(
    mesh: Mesh, *ports: int, speaks: AppProtocol = AppProtocol.HTTP11, **fields: Any
) -> None:
    mesh.push(service("web", settings(**fields), speaks=speaks))
    for number, port in enumerate(ports):
        mesh.pod(f"web-{number}", "web", port)
    mesh.ask("web")


def cluster(mesh: Mesh) -> Cluster:
    (found,) = [
        c for c in mesh.worker.targets.clusters.clusters.values() if c.port == HTTP_PORT
    ]
    return found


def connections(mesh: Mesh) -> int:
    return cluster(mesh).breakers.default.counts[Resource.CONNECTIONS]


def test_how_long_a_connection_is_kept() -> None:
    assert HttpSettings().idle(60) == 60
    assert HttpSettings(idle_timeout=3).idle(60) == 3
    assert HttpSettings(idle_timeout=0).idle(60) == FOREVER
    assert HttpSettings().end(7) == FOREVER + 7
    assert HttpSettings(max_connection_duration=3).end(7) == 10


def test_windows() -> None:
    assert client_settings(HttpSettings()) is CLIENT
    found = client_settings(HttpSettings(stream_window=70000, connection_window=80000))
    assert (found.stream_window, found.connection_window) == (70000, 80000)
    assert found.queue_high == CLIENT.queue_high


@pytest.mark.parametrize(
    "duration", [{"idleTimeout": "0.1s"}, {"maxConnectionDuration": "0.1s"}]
)
async def test_a_connection_ends_in_its_time(duration: dict[str, str]) -> None:
    closed = asyncio.Event()

    async def answers(peer: Peer) -> None:
        await peer.head()
        await peer.send(ok())
        assert await peer.rest() == b""
        closed.set()

    async with running() as mesh, upstream(answers) as server:
        serve(mesh, server.port, **http(commonHttpProtocolOptions=duration))
        async with client(mesh) as peer:
            await peer.get()
            async with asyncio.timeout(5):
                await closed.wait()
        await until(lambda: connections(mesh) == 0)


async def test_an_old_connection_finishes_what_it_has() -> None:
    async def answers(peer: Peer) -> None:
        made = mesh.worker.time()
        await peer.head()
        await until(lambda: mesh.worker.time() > made + 0.1)
        await peer.send(ok())

    async with running() as mesh, upstream(answers) as server:
        options = {"maxConnectionDuration": "0.1s"}
        serve(mesh, server.port, **http(commonHttpProtocolOptions=options))
        async with client(mesh) as peer:
            assert [(await peer.get())[1] for _ in range(2)] == [b"hello"] * 2
        assert server.connections == 2


async def test_so_many_requests_on_an_http2_connection() -> None:
    async with running() as mesh, upstream2(echo) as server:
        options = {
            "commonHttpProtocolOptions": {"maxRequestsPerConnection": 2},
            "explicitHttpConfig": {"http2ProtocolOptions": {}},
        }
        serve(mesh, server.port, speaks=AppProtocol.HTTP2, **http(**options))
        async with client2(mesh) as peer:
            for number in range(5):
                assert (await peer.response(await peer.get(f"/{number}")))[0][b"x-served"]
        assert server.connections == 3
        await until(lambda: connections(mesh) == 1)


async def test_so_many_streams_on_a_connection() -> None:
    release = asyncio.Event()

    async def handle(server: H2) -> None:
        await release.wait()
        await echo(server)

    async with running() as mesh, upstream2(handle) as server:
        serve(mesh, server.port, speaks=AppProtocol.HTTP2, **http2(maxConcurrentStreams=2))
        async with client2(mesh) as peer:
            for _ in range(5):
                await peer.get()
            await until(lambda: server.connections == 3)
            assert connections(mesh) == 3
            release.set()


async def test_windows_are_announced() -> None:
    told: list[tuple[int, int]] = []

    async def handle(server: H2) -> None:
        await server.next(h2.events.RequestReceived)
        settings = server.conn.remote_settings
        told.append((settings.initial_window_size, server.conn.outbound_flow_control_window))

    async with running() as mesh, upstream2(handle) as server:
        windows = {"initialStreamWindowSize": 70000, "initialConnectionWindowSize": 80000}
        serve(mesh, server.port, speaks=AppProtocol.HTTP2, **http2(**windows))
        async with client2(mesh) as peer:
            await peer.get()
            await until(lambda: told)
        assert told == [(70000, 80000)]


async def test_http2_requests_wait_for_a_stream() -> None:
    async with running() as mesh, upstream2(echo) as server:
        serve(
            mesh, server.port, speaks=AppProtocol.HTTP2,
            **http2(maxConcurrentStreams=1), **bounded(1),
        )  # fmt: skip
        async with client2(mesh) as peer:
            streams = [await peer.get(f"/{number}") for number in range(20)]
            for number, stream in enumerate(streams):
                assert (await peer.response(stream))[1] == b"GET /%d " % number
        assert server.connections == 1
        breaker = cluster(mesh).breakers.default
        assert breaker.overflows[Resource.CONNECTIONS] > 0
        assert breaker.counts[Resource.PENDING] == 0


async def test_who_waits_for_a_stream_survives_the_connection() -> None:
    async def one(server: H2) -> None:
        """A connection that ends after a response."""
        await server.next(h2.events.RequestReceived)
        stream = (await server.next(h2.events.StreamEnded)).stream_id
        server.conn.send_headers(stream, [(b":status", b"200")], end_stream=True)
        await server.flush()

    async with running() as mesh, upstream2(one) as server:
        serve(
            mesh, server.port, speaks=AppProtocol.HTTP2,
            **http2(maxConcurrentStreams=1), **bounded(1),
        )  # fmt: skip
        async with client2(mesh) as peer:
            streams = [await peer.get() for _ in range(4)]
            found = [(await peer.response(stream))[0][b":status"] for stream in streams]
        # The second was under way when its connection ended: it goes again, or fails.
        assert found.count(b"200") >= 2
        assert mesh.worker.targets.clusters.clusters
        assert all(not m.queue for m in cluster(mesh).members.values())


async def test_an_idle_connection_elsewhere_is_better_than_to_wait() -> None:
    async with running() as mesh, upstream() as one, upstream() as two:
        policy = {"lbPolicy": "ROUND_ROBIN"}
        serve(mesh, one.port, two.port, **policy, **bounded(1))
        async with client(mesh) as peer:
            assert [(await peer.get())[1] for _ in range(4)] == [b"hello"] * 4
        assert sorted([one.connections, two.connections]) == [0, 1]


def on_tcp(**fields: Any) -> Extension:
    """Settings for the TCP port."""
    found = settings(**fields)
    name = cluster_name(hostname("web"), TCP_PORT)
    return Extension(name, found.type_url, found.value)


async def test_bytes_end_with_the_connections_time() -> None:
    async def says_nothing(peer: Peer) -> None:
        await peer.rest()

    async with running() as mesh, upstream(says_nothing) as server:
        duration = http(commonHttpProtocolOptions={"maxConnectionDuration": "0.1s"})
        mesh.push(service("web", on_tcp(**duration)))
        mesh.pod("web-1", "web", server.port)
        mesh.ask("web", TCP_PORT)
        async with client(mesh) as peer:
            await peer.send(b"x")
            with pytest.raises(ConnectionResetError):
                await peer.rest()
        (text,) = await mesh.lines(1)
        assert " 0 DT " in text
