"""Bytes that aren't HTTP: relayed both ways, ends and errors included."""

from __future__ import annotations

import asyncio
import re

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_pb
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from tests.waypoint.mesh import TCP_PORT, Mesh, hostname, running, service, until
from tests.waypoint.test_exchange import closed_port
from tests.waypoint.transcript import Tape
from tests.waypoint.wire import Peer, client, dial, upstream
from waypoint.streams import TYPE_URL
from waypoint.tcp import Relay, Side
from waypoint.worker import Caller, Limits
from ztunnel_compat.model import Extension
from ztunnel_compat.peer import parse_peer

MIB = 1 << 20


def serve(mesh: Mesh, *ports: int) -> None:
    mesh.push(service("web"))
    for number, port in enumerate(ports):
        mesh.pod(f"web-{number}", "web", port)
    mesh.ask("web", TCP_PORT)


async def echo(peer: Peer) -> None:
    while data := await peer.reader.read(65536):
        await peer.send(data)


async def test_bytes_go_both_ways_and_the_line_says_so() -> None:
    async with running() as mesh, upstream(echo) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(b"\x16\x03\x01 GET / HTTP/1.0\n\n")
            assert await peer.exactly(20) == b"\x16\x03\x01 GET / HTTP/1.0\n\n"
            peer.writer.write_eof()
            assert await peer.rest() == b""
            local = peer.writer.get_extra_info("sockname")
        (text,) = await mesh.lines(1)
        wanted = (
            r'\[.{24}\] "- - -" 0 - - - "-" 20 20 \d+ - "-" "-" "-" "-" '
            rf'"127\.0\.0\.1:{server.port}" outbound\|90\|\|web\.apps\.svc\.cluster\.local '
            rf"127\.0\.0\.1:\d+ 10\.96\.0\.7:90 127\.0\.0\.1:{local[1]} - - "
            r'"spiffe://cluster\.local/ns/apps/sa/default" -'
        )
        assert re.fullmatch(wanted, text), text


async def test_a_server_may_speak_first() -> None:
    async def greets(peer: Peer) -> None:
        await peer.send(b"220 ready\r\n")
        assert await peer.until(b"\n") == b"QUIT\n"

    async with running() as mesh, upstream(greets) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            assert await peer.until(b"\n") == b"220 ready\r\n"
            await peer.send(b"QUIT\n")
            assert await peer.rest() == b""


async def test_half_closed_connections_go_on_the_other_way() -> None:
    async def answers_at_the_end(peer: Peer) -> None:
        data = await peer.rest()
        await peer.send(data[::-1])

    async with running() as mesh, upstream(answers_at_the_end) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(b"abc")
            peer.writer.write_eof()
            assert await peer.rest() == b"cba"


async def test_a_client_that_says_everything_at_once() -> None:
    async with running() as mesh, upstream(echo) as server:
        serve(mesh, server.port)
        for _ in range(20):
            async with client(mesh) as peer:
                peer.writer.write(b"abc")
                peer.writer.write_eof()
                assert await peer.rest() == b"abc"


async def test_a_server_that_ends_first() -> None:
    late: list[bytes] = []

    async def ends(peer: Peer) -> None:
        peer.writer.write_eof()
        late.append(await peer.rest())

    async with running() as mesh, upstream(ends) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            assert await peer.rest() == b""
            await peer.send(b"still here")
            peer.writer.write_eof()
            await until(lambda: late == [b"still here"])
        (text,) = await mesh.lines(1)
        assert '"- - -" 0 - ' in text


async def test_resets_go_through() -> None:
    resets: list[str] = []

    async def waits(peer: Peer) -> None:
        data = await peer.exactly(1)
        if data == b"R":
            peer.reset()
            return
        try:
            await peer.rest()
        except ConnectionResetError:
            resets.append("server saw it")

    async with running() as mesh, upstream(waits) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(b"R")
            with pytest.raises(ConnectionResetError):
                await peer.rest()
        peer = await dial(mesh)
        await peer.send(b"x")
        await until(lambda: any(r.server and r.client.received for r in mesh.worker.relays))
        peer.reset()
        await until(lambda: resets)
        lines = await mesh.lines(2)
        assert [text.split(" 0 ")[1].split()[0] for text in lines] == ["UC", "DC"]


async def test_other_endpoints_are_tried() -> None:
    async with running() as mesh, upstream(echo) as server:
        serve(mesh, server.port, closed_port(), closed_port())
        for _ in range(8):
            async with client(mesh) as peer:
                await peer.send(b"abc")
                assert await peer.exactly(3) == b"abc"
        assert mesh.worker.stats.connect_failures > 0


@pytest.mark.parametrize(("ports", "flag"), [(0, "UH"), (1, "UF"), (4, "UF")])
async def test_nobody_to_connect_to_is_a_reset(ports: int, flag: str) -> None:
    async with running() as mesh:
        serve(mesh, *(closed_port() for _ in range(ports)))
        peer = await dial(mesh)
        with pytest.raises(ConnectionResetError):
            await peer.rest()
        (text,) = await mesh.lines(1)
        assert f'"- - -" 0 {flag} ' in text
        assert mesh.worker.stats.connect_failures == min(ports, 3)


async def test_a_reader_that_stops_stops_the_writer() -> None:
    sent = 0

    async def pours(peer: Peer) -> None:
        nonlocal sent
        while True:
            await peer.send(b"x" * 65536)
            sent += 65536

    async with running() as mesh, upstream(pours) as server:
        serve(mesh, server.port)
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port, limit=65536)
        last = -1
        while sent != last or not sent:
            last = sent
            await asyncio.sleep(0.3)
        (relay,) = mesh.worker.relays
        assert relay.client.transport.get_write_buffer_size() < MIB
        assert sent < 64 * MIB
        await reader.readexactly(32 * MIB)
        await until(lambda: sent > last)
        writer.transport.abort()
        await until(lambda: not mesh.worker.relays)


async def test_an_idle_relay_is_reset() -> None:
    async with running(Limits(idle=0.2)) as mesh, upstream(echo) as server:
        serve(mesh, server.port)
        peer = await dial(mesh)
        await peer.send(b"x")
        await peer.exactly(1)
        with pytest.raises(ConnectionResetError):
            await peer.rest()
        (text,) = await mesh.lines(1)
        assert '"- - -" 0 SI ' in text


async def test_a_peer_that_never_takes_its_last_bytes_is_let_go() -> None:
    async def pours(peer: Peer) -> None:
        await peer.send(b"x" * 16 * MIB)
        peer.writer.write_eof()
        await peer.rest()

    async with running(Limits(flush=0.1)) as mesh, upstream(pours) as server:
        serve(mesh, server.port)
        peer = await dial(mesh)
        peer.writer.transport.pause_reading()
        await until(lambda: server.connections)
        (relay,) = mesh.worker.relays
        await until(lambda: relay.client.paused)
        peer.reset()
        await until(lambda: not mesh.worker.relays)


async def test_a_finished_relay_waits_for_its_bytes_but_not_for_ever() -> None:
    async with running() as mesh:
        serve(mesh, 9)
        answer = mesh.answer()
        assert answer is not None
        peer = parse_peer(answer)
        target = mesh.worker.targets.find(peer)
        assert target is not None
        relay = Relay(mesh.worker, Caller(peer, "p", "- - -"), target.clusters[""])
        to_client, to_server = Tape(), Tape()
        relay.client.connection_made(to_client)
        server = Side(relay, relay.client)
        server.connection_made(to_server)
        relay.client.data_received(b"early")
        relay.join(server)
        assert relay.client.eof_received()
        assert server.eof_received()
        assert to_server.take() == [b"early", "eof", "close"]
        assert to_client.take() == ["resume", "eof", "close"]
        assert relay.due(relay.deadline) is None
        assert (to_client.take(), to_server.take()) == (["abort"], ["abort"])


def guarded(action: str, prefix: str) -> Extension:
    """What lets in, or refuses, clients whose identity begins so."""
    rules = network_pb.RBAC(stat_prefix="tcp.")
    rules.rules.action = rbac_pb2.RBAC.Action.Value(action)
    policy = rules.rules.policies["p q"]
    policy.permissions.add().destination_port = TCP_PORT
    principal = policy.principals.add()
    principal.filter_state.key = "io.istio.peer_principal"
    principal.filter_state.string_match.prefix = prefix
    title = f"inbound-vip|{TCP_PORT}|tcp|{hostname('web')}"
    message = Listener(name=title)
    chain = message.filter_chains.add(name="own")
    chain.filters.add(name="rbac").typed_config.Pack(rules)
    proxy = TcpProxy(stat_prefix="x", cluster=f"outbound|{TCP_PORT}||{hostname('web')}")
    chain.filters.add(name="proxy").typed_config.Pack(proxy)
    return Extension(title, TYPE_URL, message.SerializeToString())


async def test_policies_refuse_bytes_before_there_are_any() -> None:
    async with running() as mesh, upstream(echo) as server:
        serve(mesh, server.port)
        mesh.push(service("web", guarded("DENY", "spiffe://")))
        async with client(mesh) as peer:
            with pytest.raises(ConnectionResetError):
                await peer.rest()
        (text,) = await mesh.lines(1)
        assert " 0 - - rbac_access_denied_matched_policy[p_q] " in text
        assert server.connections == 0
        assert mesh.worker.stats.refused == {"policy": 1}
        assert mesh.worker.stats.filters == {"rbac.denied": 1}
        mesh.push(service("web", guarded("ALLOW", "spiffe://cluster.local/ns/apps/")))
        async with client(mesh) as peer:
            await peer.send(b"hello")
            assert await peer.exactly(5) == b"hello"


async def test_a_policy_breaks_off_what_it_is_against() -> None:
    async with running() as mesh, upstream(echo) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(b"hello")
            assert await peer.exactly(5) == b"hello"
            mesh.push(service("web", guarded("DENY", "spiffe://other/")))
            await peer.send(b"again")
            assert await peer.exactly(5) == b"again"
            mesh.push(service("web", guarded("DENY", "spiffe://")))
            with pytest.raises(ConnectionResetError):
                await peer.rest()
        (text,) = await mesh.lines(1)
        assert " rbac_access_denied_matched_policy[p_q] " in text
        await until(lambda: not mesh.worker.relays)
