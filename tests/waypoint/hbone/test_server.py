"""15008 with the waypoint's own certificate: a client on the h2 library."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from dataclasses import replace
from pathlib import Path

import h2.errors
import pytest

from tests.daemon.tunnel.caller import ResetError
from tests.daemon.tunnel.pki import client_context, context, mesh_authority, new_authority, who
from tests.daemon.tunnel.rig import PEER, near_side
from tests.waypoint.hbone.envoy import envoy_client
from tests.waypoint.hbone.rig import CLIENT, GATE, VIP, Gate, gate, web
from tests.waypoint.mesh import HTTP_PORT, ME, TCP_PORT, hostname, until
from tests.waypoint.wire import Peer, ok, request, upstream
from waypoint.worker import Limits
from ztunnel_compat.model import NetworkAddress
from ztunnel_compat.peer import FLOW_WAYPOINT
from ztunnel_compat.session.settings import STREAM_WINDOW

MIB = 1 << 20


def serve(made: Gate, port: int) -> None:
    made.push(web())
    made.mesh.pod("web-1", "web", port)


async def echo(peer: Peer) -> None:
    while data := await peer.reader.read(65536):
        await peer.send(data)


async def ended(made: Gate) -> None:
    await until(lambda: not made.mesh.worker.connections)


@pytest.mark.parametrize("authority", [f"{VIP}:80", f"{hostname('web')}:80"])
async def test_http_by_address_and_by_name(authority: str) -> None:
    async with gate() as made, upstream() as server, made.call() as caller:
        serve(made, server.port)
        stream = caller.connect(
            authority, ("forwarded", 'for="127.0.0.1:4711";host=other.example')
        )
        assert await stream.headers() == {
            ":status": "200", "baggage": "k8s.namespace.name=apps,k8s.pod.name=gate",
        }  # fmt: skip
        await stream.write(request("/") * 2)
        assert (await stream.exactly(2 * len(ok()))).count(b"hello") == 2
        (text, _) = await made.mesh.lines(2)
        assert f" {VIP}:80 127.0.0.1:4711 - default " in text
        assert text.endswith('"spiffe://cluster.local/ns/apps/sa/client" -')
        stream.end()
        assert await stream.rest() == b""
        await ended(made)


async def test_a_workload_s_own_waypoint() -> None:
    async with gate() as made, upstream(echo) as server, made.call() as caller:
        made.push(web())
        pod = made.mesh.pod("web-1", "web", server.port)
        made.push(replace(pod, waypoint=ME))
        stream = caller.connect(f"127.0.0.1:{server.port}")
        assert await stream.status() == 200
        await stream.write(b"abc")
        stream.end()
        assert await stream.rest() == b"abc"


async def test_a_server_may_speak_first_and_ends_go_each_way_by_themselves() -> None:
    async def greets(peer: Peer) -> None:
        await peer.send(b"220 ready\r\n")
        data = await peer.rest()
        await peer.send(data[::-1])

    async with gate() as made, upstream(greets) as server, made.call() as caller:
        serve(made, server.port)
        stream = caller.connect(f"{VIP}:{TCP_PORT}")
        assert await stream.exactly(11) == b"220 ready\r\n"
        await stream.write(b"abc")
        stream.end()
        assert await stream.rest() == b"cba"
        await ended(made)


async def test_a_client_that_says_everything_at_once() -> None:
    async with gate() as made, upstream(echo) as server, made.call() as caller:
        serve(made, server.port)
        stream = caller.connect(f"{VIP}:{TCP_PORT}", end=True)
        assert await stream.status() == 200
        assert await stream.rest() == b""
        await ended(made)


async def test_resets_go_through() -> None:
    seen: list[str] = []

    async def waits(peer: Peer) -> None:
        if await peer.exactly(1) == b"R":
            peer.reset()
            return
        try:
            await peer.rest()
        except ConnectionResetError:
            seen.append("reset")

    async with gate() as made, upstream(waits) as server, made.call() as caller:
        serve(made, server.port)
        first, second = (caller.connect(f"{VIP}:{TCP_PORT}") for _ in range(2))
        await first.write(b"R")
        with pytest.raises(ResetError, match="CONNECT_ERROR"):
            await first.rest()
        await second.write(b"W")
        await until(lambda: server.connections == 2)
        second.reset(h2.errors.ErrorCodes.CONNECT_ERROR)
        await until(lambda: seen == ["reset"])
        await ended(made)


async def test_a_lost_connection_resets_what_it_carried() -> None:
    seen: list[str] = []

    async def waits(peer: Peer) -> None:
        try:
            await peer.rest()
        except ConnectionResetError:
            seen.append("reset")

    async with gate() as made, upstream(waits) as server:
        serve(made, server.port)
        async with made.call() as caller:
            streams = [caller.connect(f"{VIP}:{TCP_PORT}") for _ in range(3)]
            for stream in streams:
                assert await stream.status() == 200
            await until(lambda: server.connections == 3)
        await until(lambda: len(seen) == 3)
        await ended(made)


async def test_a_slow_reader_holds_nobody_else_up_and_little_memory() -> None:
    body = bytes(8 * MIB)

    async def pours(peer: Peer) -> None:
        await peer.send(body)
        peer.writer.write_eof()
        await peer.rest()

    async with gate() as made, upstream(pours) as server, made.call() as caller:
        serve(made, server.port)
        slow = caller.connect(f"{VIP}:{TCP_PORT}")
        assert await slow.status() == 200
        # Its window is full; nothing of it was taken.
        await until(lambda: slow.events.qsize() and held(made) > 0)
        fast = caller.connect(f"{VIP}:{TCP_PORT}")
        assert len(await fast.rest()) == len(body)
        assert held(made) <= 2 * STREAM_WINDOW
        assert len(await slow.rest()) == len(body)


def held(made: Gate) -> int:
    """Bytes of streams that wait for the far side."""
    return sum(
        stream.queued
        for connection in made.server.connections
        for stream in connection.http.streams.values()
    )


async def test_a_slow_server_holds_nobody_else_up_and_little_memory() -> None:
    taken: list[int] = []
    go = asyncio.Event()

    async def sips(peer: Peer) -> None:
        if await peer.exactly(1) == b"S":
            await go.wait()
        taken.append(len(await peer.rest()))

    async with gate() as made, upstream(sips) as server, made.call() as caller:
        serve(made, server.port)
        slow, fast = (caller.connect(f"{VIP}:{TCP_PORT}") for _ in range(2))
        body = bytes(16 * MIB)
        pouring = asyncio.ensure_future(slow.write(b"S" + body))
        await fast.write(b"F" + body)
        fast.end()
        assert await fast.rest() == b""
        assert taken == [len(body)]
        (connection,) = made.server.connections
        assert connection.http.streams[slow.number].held <= STREAM_WINDOW
        assert not pouring.done()
        go.set()
        await pouring
        slow.end()
        await until(lambda: taken == [len(body)] * 2)


@pytest.mark.parametrize(
    "headers",
    [
        [(":method", "GET"), (":scheme", "https"), (":authority", f"{VIP}:80"), (":path", "/")],
        [(":method", "CONNECT"), (":authority", "10.96.0.7")],
        [(":method", "CONNECT"), (":authority", "10.96.0.7:0")],
    ],
)
async def test_what_can_t_be_asked_for(headers: list[tuple[str, str]]) -> None:
    async with gate() as made, made.call() as caller:
        serve(made, 9)
        stream = caller.ask(headers)
        assert await stream.status() == 400
        assert made.mesh.worker.stats.refused == {"bad_connect": 1}


@pytest.mark.parametrize("authority", ["10.9.9.9:80", f"{VIP}:81", "other.example:80"])
async def test_what_stays_unknown(authority: str) -> None:
    async with gate(Limits(unknown=0.1)) as made, made.call() as caller:
        serve(made, 9)
        stream = caller.connect(authority)
        assert await stream.status() == 404
        assert await stream.rest() == b""
        assert made.mesh.worker.stats.refused == {"unknown_target": 1}
        assert not made.server.waiting


async def test_what_is_pushed_meanwhile_is_served() -> None:
    async with gate() as made, upstream(echo) as server, made.call() as caller:
        stream = caller.connect(f"{VIP}:{TCP_PORT}")
        await stream.write(b"early")
        await until(lambda: made.server.waiting)
        assert not stream.answer.done()
        serve(made, server.port)
        made.server.retry()
        assert await stream.status() == 200
        assert await stream.exactly(5) == b"early"
        assert not made.server.waiting


async def test_who_leaves_waits_no_more() -> None:
    async with gate() as made, made.call() as caller:
        stream = caller.connect(f"{VIP}:{TCP_PORT}")
        await until(lambda: made.server.waiting)
        stream.reset()
        await until(lambda: not made.server.waiting)


@pytest.mark.parametrize("limits", [Limits(connections=0), Limits(waiting=0)])
async def test_no_room(limits: Limits) -> None:
    async with gate(limits) as made, made.call() as caller:
        assert await caller.connect(f"{VIP}:80").status() == 503
        assert made.mesh.worker.stats.refused == {"limit": 1}


async def refusal(made: Gate, credentials: ssl.SSLContext) -> None:
    """Nothing is answered to this client."""
    with contextlib.suppress(OSError):
        async with made.call(context=credentials) as caller:
            stream = caller.connect(f"{VIP}:80")
            with pytest.raises(ResetError, match="connection lost"):
                await stream.status()


@pytest.mark.parametrize(
    ("who_it_is", "reason"), [("none", "tls"), ("foreign", "tls"), ("domain", "peer_identity")]
)
async def test_who_has_no_certificate_of_ours(who_it_is: str, reason: str) -> None:
    trusted = mesh_authority()
    foreign = new_authority("other")
    other = trusted.issue("spiffe://other/ns/apps/sa/client")
    credentials = {
        "none": context(False, trusted, None),
        "foreign": context(False, trusted, foreign.issue(who("client"))),
        "domain": context(False, trusted, other),
    }
    async with gate() as made:
        serve(made, 9)
        await refusal(made, credentials[who_it_is])
        await until(lambda: made.mesh.worker.stats.refused == {reason: 1})
        assert not made.server.connections


async def test_tls_1_2_isn_t_spoken() -> None:
    old = client_context(who("client"))
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with gate() as made:
        with pytest.raises(OSError):
            async with made.call(context=old):
                pass
        await until(lambda: made.mesh.worker.stats.refused == {"tls": 1})


async def test_without_a_certificate_nobody_is_served() -> None:
    async with gate() as made:
        made.server.credentials.refuses = "the CA is away"  # type: ignore[attr-defined]
        with pytest.raises(OSError):
            async with made.call():
                pass
        assert made.mesh.worker.stats.refused == {"no_certificate": 1}


async def test_the_certificate_is_the_waypoint_s_own() -> None:
    async with gate() as made, made.call() as caller:
        tls = caller.transport.get_extra_info("ssl_object")
        assert tls.version() == "TLSv1.3"
        assert tls.selected_alpn_protocol() == "h2"
        names = tls.getpeercert()["subjectAltName"]
        assert names == (("URI", str(GATE)),)


async def test_draining_tells_clients_and_finishes_what_is_under_way() -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slowly(peer: Peer) -> None:
        await peer.head()
        asked.set()
        await go.wait()
        await peer.send(ok(b"late"))

    async with gate() as made, upstream(slowly) as server, made.call() as caller:
        serve(made, server.port)
        stream = caller.connect(f"{VIP}:{HTTP_PORT}")
        await stream.write(request("/"))
        await asked.wait()
        made.mesh.worker.draining = True
        await made.server.stop_accepting()
        draining = asyncio.ensure_future(made.mesh.server.drain(5, idle=0))
        await until(lambda: caller.goaways)
        go.set()
        assert re.search(b"connection: close", (await stream.rest()).lower())
        stream.end()
        await draining
        await caller.closed.wait()
        await made.server.close(5)
        assert not made.server.connections
        with pytest.raises(OSError):
            async with made.call():
                pass


async def test_envoy_as_the_client(tmp_path: Path) -> None:
    async with (
        gate() as made,
        upstream() as server,
        envoy_client(tmp_path, made.port, f"{VIP}:{HTTP_PORT}") as port,
    ):
        serve(made, server.port)
        peers = [Peer(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(20)]
        for peer in peers * 2:
            assert (await peer.get())[1] == b"hello"
        lines = await made.mesh.lines(40)
        assert all(line.endswith(f'"{CLIENT}" -') for line in lines)
        for peer in peers:
            await peer.close()
        await ended(made)


async def test_envoy_as_the_client_of_a_large_echo(tmp_path: Path) -> None:
    async with (
        gate() as made,
        upstream(echo) as server,
        envoy_client(tmp_path, made.port, f"{hostname('web')}:{TCP_PORT}") as port,
    ):
        serve(made, server.port)
        peer = Peer(*await asyncio.open_connection("127.0.0.1", port))
        body = bytes(range(256)) * 16384
        sending = asyncio.ensure_future(peer.send(body))
        assert await peer.exactly(len(body)) == body
        await sending
        peer.writer.write_eof()
        assert await peer.rest() == b""
        await peer.close()
        await ended(made)


async def test_the_node_agent_s_tunnel_as_the_client() -> None:
    async with gate(identity=who("server")) as made, upstream() as server:
        serve(made, server.port)
        made.push(replace(web(), addresses=(NetworkAddress("", bytes([10, 96, 0, 1])),)))
        async with near_side(made.port) as near:
            near.peer = replace(PEER, flags=PEER.flags | FLOW_WAYPOINT)
            apps = [await near.connect() for _ in range(10)]
            for app in apps:
                await app.send(request("/"))
                assert await app.receive_exactly(len(ok())) == ok()
            (connection,) = made.server.connections
            assert connection.http.open_streams == 10
            lines = await made.mesh.lines(10)
            assert all(line.endswith(f'"{who("client")}" -') for line in lines)
            assert " 10.96.0.1:80 " in lines[0]
            apps[0].end()
            assert await apps[0].receive_all() == b""
            apps[1].reset()
            await until(lambda: made.mesh.worker.connections == 8)
