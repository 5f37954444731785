"""From the waypoint to endpoints: against an HBONE server on the h2 library."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from pathlib import Path

import pytest

from tests.daemon.tunnel.envoy import envoy_side
from tests.daemon.tunnel.far import FarStream, echo, far_side
from tests.daemon.tunnel.pki import server_context, who
from tests.waypoint.hbone.rig import Gate, gate, web
from tests.waypoint.hbone.test_transport import Noted
from tests.waypoint.mesh import HTTP_PORT, TCP_PORT, until
from tests.waypoint.wire import Peer, client, ok, request, upstream
from waypoint.hbone.errors import RefusedError, TunnelError
from ztunnel_compat.model import TunnelProtocol

SERVER = who("server", "apps")
AT = ("127.0.0.1", 8080)


def serve(
    made: Gate, port: int = AT[1], protocol: TunnelProtocol = TunnelProtocol.HBONE
) -> None:
    made.push(web())
    pod = made.mesh.pod("web-1", "web", port)
    made.push(replace(pod, service_account="server", tunnel_protocol=protocol))


async def test_requests_share_a_connection_and_use_streams_again() -> None:
    async def answers(stream: FarStream) -> None:
        stream.respond()
        while await stream.read():
            await stream.write(ok())
        stream.end()

    context = server_context(SERVER)
    async with far_side(answers, context) as far, gate(far_port=far.port) as made:
        serve(made)
        made.mesh.ask("web")
        async with client(made.mesh) as first, client(made.mesh) as second:
            for peer in (first, second, first):
                assert (await peer.get())[1] == b"hello"
        assert [r[":authority"] for r in far.requests] == ["127.0.0.1:8080"]
        assert len(far.connections) == 1
        asked = far.requests[0]
        assert asked["forwarded"].startswith('for="127.0.0.1:')
        assert asked["traceparent"].startswith("00-")
        (line, *_) = await made.mesh.lines(3)
        assert '"127.0.0.1:8080" outbound|80||web.apps.svc.cluster.local 127.0.0.1:' in line


async def test_bytes_ends_and_resets() -> None:
    async with far_side(echo, server_context(SERVER)) as far, gate(far_port=far.port) as made:
        serve(made)
        made.mesh.ask("web", TCP_PORT)
        async with client(made.mesh) as peer:
            body = bytes(range(256)) * 16384
            sending = asyncio.ensure_future(peer.send(body))
            assert await peer.exactly(len(body)) == body
            await sending
            peer.writer.write_eof()
            assert await peer.rest() == b""
        async with client(made.mesh) as peer:
            await peer.send(b"x")
            await peer.exactly(1)
            far.tunnels[-1].reset()
            with pytest.raises(ConnectionResetError):
                await peer.rest()


async def test_workloads_without_hbone_are_connected_to_plainly() -> None:
    async with upstream() as server, gate() as made:
        serve(made, server.port, TunnelProtocol.NONE)
        made.mesh.ask("web")
        async with client(made.mesh) as peer:
            assert (await peer.get())[1] == b"hello"
        assert not made.dialer.pool.opened


async def test_who_is_another_than_xds_says_gets_nothing() -> None:
    other = server_context(who("another", "apps"))
    async with far_side(echo, other) as far, gate(far_port=far.port) as made:
        serve(made)
        with pytest.raises(TunnelError, match=r"the peer is .*/sa/another") as caught:
            await made.dialer.connect(Noted, *AT)
        assert caught.value.errno == errno.EPROTO
        assert not far.requests
        made.mesh.ask("web")
        async with client(made.mesh) as peer:
            head, _ = await peer.get()
            assert b" 503 " in head
        (line,) = await made.mesh.lines(1)
        assert "503 UF" in line
        assert "Protocol_error" in line


@pytest.mark.parametrize(
    ("status", "number"),
    [(503, errno.ECONNREFUSED), (401, errno.EACCES), (400, errno.ECONNABORTED)],
)
async def test_refusals_by_their_status(status: int, number: int) -> None:
    async def refuses(stream: FarStream) -> None:
        stream.respond(status, end=True)

    context = server_context(SERVER)
    async with far_side(refuses, context) as far, gate(far_port=far.port) as made:
        serve(made)
        with pytest.raises(RefusedError, match=f"http status: {status}") as caught:
            await made.dialer.connect(Noted, *AT)
        assert (caught.value.errno, caught.value.status) == (number, status)
        assert made.dialer.failures == {"127.0.0.1:8080": f"http status: {status}"}
        far.handler = echo
        await made.dialer.connect(Noted, *AT)
        assert not made.dialer.failures
        assert len(far.connections) == 1


async def test_nobody_there() -> None:
    async with upstream() as gone:
        port = gone.port
    async with gate(far_port=port) as made:
        serve(made)
        with pytest.raises(TunnelError, match=f"port {port}") as caught:
            await made.dialer.connect(Noted, *AT)
        assert caught.value.errno == errno.ECONNREFUSED


async def test_no_certificate() -> None:
    async with gate() as made:
        serve(made)
        made.dialer.credentials.refuses = "the CA is away"  # type: ignore[attr-defined]
        with pytest.raises(TunnelError, match="the CA is away"):
            await made.dialer.connect(Noted, *AT)


async def test_a_connection_that_ends_as_it_is_used_again() -> None:
    async with far_side(echo, server_context(SERVER)) as far, gate(far_port=far.port) as made:
        serve(made)
        await made.dialer.connect(Noted, *AT)

        async def leaves(stream: FarStream) -> None:
            far.handler = echo
            stream.connection.transport.abort()

        far.handler = leaves
        await made.dialer.connect(Noted, *AT)
        assert len(far.connections) == 2
        far.connections[1].goaway(0)
        await until(lambda: not list(made.dialer.pool.connections()))
        await made.dialer.connect(Noted, *AT)
        assert len(far.connections) == 3


async def test_many_at_once_share_one_connection_up_to_its_room() -> None:
    async with far_side(echo, server_context(SERVER)) as far, gate(far_port=far.port) as made:
        serve(made)
        made_all = await asyncio.gather(*(made.dialer.connect(Noted, *AT) for _ in range(150)))
        assert len(made_all) == 150
        assert len(far.connections) == 2


async def test_who_stops_waiting_leaves_no_stream() -> None:
    async def silent(stream: FarStream) -> None:
        await stream.read()

    context = server_context(SERVER)
    async with far_side(silent, context) as far, gate(far_port=far.port) as made:
        serve(made)
        asking = asyncio.ensure_future(made.dialer.connect(Noted, *AT))
        await until(lambda: far.requests)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: far.tunnels[0].gone)
        assert not next(made.dialer.pool.connections()).http.open_streams


async def test_envoy_as_the_server(tmp_path: Path) -> None:
    async def answers(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.send(ok(b"through envoy"))

    async with (
        upstream(answers) as application,
        envoy_side(tmp_path, application.port) as port,
        gate(far_port=port) as made,
    ):
        made.push(web())
        pod = made.mesh.pod("web-1", "web", application.port)
        made.push(
            replace(
                pod,
                namespace="app",
                service_account="server",
                tunnel_protocol=TunnelProtocol.HBONE,
            )
        )
        made.mesh.ask("web", HTTP_PORT)
        async with client(made.mesh) as peer:
            await peer.send(request("/"))
            assert (await peer.response())[1] == b"through envoy"
            assert (await peer.get())[1] == b"through envoy"
        assert made.dialer.pool.opened == 1
