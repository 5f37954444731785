"""The identity port: who gets in, and how it ends."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace

import pytest

from tests.waypoint.mesh import (
    CLIENT,
    HTTP_PORT,
    NAMESPACE,
    TCP_PORT,
    Mesh,
    running,
    service,
    until,
)
from tests.waypoint.wire import Peer, client, dial, ok, request, upstream
from waypoint.targets import GRACE
from waypoint.worker import Limits
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import NetworkAddress, Workload
from ztunnel_compat.names import name_hash
from ztunnel_compat.peer import FLOW_SERVICE, FLOW_TUNNELLED, FLOW_WAYPOINT
from ztunnel_compat.proxy_protocol import ProxyHeader, encode_proxy


def serve(mesh: Mesh, port: int = 9) -> None:
    mesh.push(service("web"))
    mesh.pod("web-1", "web", port)
    mesh.ask("web")


async def refused(mesh: Mesh) -> None:
    """A connection that is reset before it may say anything."""

    async def knock() -> None:
        # The reset may already meet connect().
        await (await dial(mesh)).rest()

    with pytest.raises(ConnectionResetError):
        await knock()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_both_families(host: str) -> None:
    async with running() as mesh, upstream() as server:
        serve(mesh, server.port)
        async with client(mesh, host) as peer:
            assert (await peer.get())[1] == b"hello"
        (text,) = await mesh.lines(1)
        assert (" [::1]:" in text) is (host == "::1")


async def test_an_unproven_connection_is_reset() -> None:
    async with running() as mesh:
        serve(mesh)
        mesh.proven = False
        await refused(mesh)
        assert mesh.worker.stats.refused == {"no_peer": 1}


async def test_a_connection_that_wasn_t_redirected_is_reset() -> None:
    async with running() as mesh:
        serve(mesh)
        name, port, _ = mesh.asked
        mesh.asked = (name, port, FLOW_SERVICE)
        await refused(mesh)
        assert mesh.worker.stats.refused == {"not_redirected": 1}


@pytest.mark.parametrize("what", ["target", "source", "port", "other"])
async def test_what_stays_unknown_is_reset_in_the_end(what: str) -> None:
    async with running(Limits(unknown=0.1)) as mesh:
        serve(mesh)
        mesh.push(service("other", mine=False))
        if what == "source":
            mesh.source = 77
        elif what == "port":
            mesh.ask("web", 81)
        else:
            mesh.ask("other" if what == "other" else "nothing")
        await refused(mesh)
        reason = "unknown_source" if what == "source" else "unknown_target"
        assert mesh.worker.stats.refused == {reason: 1}
        assert not mesh.server.waiting


@pytest.mark.parametrize("heard_again", [True, False])
async def test_what_is_unknown_waits_longer_while_nothing_is_heard(heard_again: bool) -> None:
    unheard = 30.0 if heard_again else 0.3
    async with running(Limits(unknown=0.1, unheard=unheard)) as mesh:
        serve(mesh)
        mesh.informed = False
        mesh.ask("nothing")
        async with client(mesh):
            started = mesh.worker.time()
            await until(lambda: mesh.worker.time() > started + 0.25)
            assert mesh.server.waiting
            mesh.informed = heard_again
            await until(lambda: not mesh.server.waiting)
        assert mesh.worker.stats.refused == {"unknown_target": 1}


@pytest.mark.parametrize("port", [80, TCP_PORT])
async def test_what_is_pushed_in_time_is_served(port: int) -> None:
    async def echo(peer: Peer) -> None:
        await peer.send(ok(await peer.until(b"\r\n\r\n")))

    async with running() as mesh, upstream(echo) as server:
        late = Workload(uid="late", name="late", namespace=NAMESPACE, service_account="late")
        mesh.source = name_hash("late")
        mesh.ask("web", port)
        async with client(mesh) as peer:
            await peer.send(request("/", "X-Request-Id: 7"))
            await until(lambda: mesh.server.waiting)
            serve(mesh, server.port)
            mesh.ask("web", port)
            assert mesh.server.waiting
            mesh.push(late)
            assert not mesh.server.waiting
            assert (await peer.response())[1] == request("/", "X-Request-Id: 7")
        (text,) = await mesh.lines(1)
        assert text.endswith('"spiffe://cluster.local/ns/apps/sa/late" -')


async def test_a_waiting_client_is_not_read_from() -> None:
    size = 8 << 20
    got: list[int] = []

    async def sink(peer: Peer) -> None:
        got.append(len(await peer.rest()))

    async with running() as mesh, upstream(sink) as server:
        mesh.ask("web", TCP_PORT)
        async with client(mesh) as peer:
            await until(lambda: mesh.server.waiting)
            (arrival,) = mesh.server.waiting
            peer.writer.write(b"x" * size)
            peer.writer.write_eof()
            await until(lambda: not arrival.transport.is_reading())
            serve(mesh, server.port)
            assert len(arrival.early) < 1 << 20
            await until(lambda: got == [size])


async def test_a_client_that_gives_up_waiting_is_forgotten() -> None:
    async with running() as mesh:
        mesh.ask("nothing")
        peer = await dial(mesh)
        await until(lambda: mesh.server.waiting)
        peer.reset()
        (arrival,) = mesh.server.waiting
        serve(mesh)
        mesh.push(service("nothing"))
        await until(lambda: not mesh.server.waiting)
        assert arrival.tick == 0


async def test_waiting_connections_are_limited() -> None:
    async with running(Limits(waiting=2)) as mesh:
        mesh.ask("nothing")
        held = [await dial(mesh) for _ in range(2)]
        await until(lambda: len(mesh.server.waiting) == 2)
        await refused(mesh)
        assert mesh.worker.stats.refused == {"limit": 1}
        for peer in held:
            peer.writer.transport.abort()


async def test_connections_are_limited() -> None:
    async with running(Limits(connections=2)) as mesh, upstream() as server:
        serve(mesh, server.port)
        async with client(mesh) as first, client(mesh) as second:
            await first.get()
            await second.get()
            await refused(mesh)
            await first.get()
        await until(lambda: not mesh.worker.connections)
        async with client(mesh) as third:
            await third.get()


async def test_workloads_are_served_as_what_they_turn_out_to_speak() -> None:
    async with running() as mesh, upstream() as server:
        serve(mesh)
        gate = service("web").waypoint
        target = Workload(uid="w", namespace=NAMESPACE, addresses=(bytes([127, 0, 0, 1]),))
        mesh.push(replace(target, waypoint=gate))
        mesh.asked = ("w", server.port, FLOW_WAYPOINT)
        async with client(mesh) as peer:
            await peer.send(b"hi there\r\n\r\n")
            assert (await peer.response())[1] == b"hello"
        async with client(mesh) as peer:
            assert (await peer.get("/", "X-Request-Id: 7"))[1] == b"hello"
        assert server.heads == [b"hi there\r\n\r\n", request("/", "X-Request-Id: 7")]
        lines = await mesh.lines(2)
        assert '] "- - -" 0 - ' in lines[0]
        assert '] "GET / HTTP/1.1" 200 - ' in lines[1]


async def test_idle_connections_to_what_left_are_closed() -> None:
    async with running() as mesh, upstream() as server:
        serve(mesh, server.port)
        now = mesh.worker.time
        async with client(mesh) as peer:
            await peer.get()
            mesh.push(service("web", mine=False))
            mesh.worker.targets.now = lambda: now() + GRACE + 1
            assert await peer.rest() == b""


# Through a tunnel

VIP = ipaddress.ip_address("10.96.0.9").packed
FAR = ipaddress.ip_address("10.244.3.4").packed
WHO = Identity("cluster.local", "far", "caller")
HEADER = ProxyHeader(FAR, 4711, VIP, HTTP_PORT, WHO)


def tunnelled(mesh: Mesh, port: int, *, mine: bool = True) -> None:
    """A service at ``VIP``; connections from here on come through a tunnel."""
    mesh.push(replace(service("web", mine=mine), addresses=(NetworkAddress("", VIP),)))
    mesh.pod("web-1", "web", port)
    mesh.asked = ("", 0, FLOW_TUNNELLED)
    mesh.source = 0


@pytest.mark.parametrize("known", ["source", "namesake", "nobody"])
async def test_a_tunnelled_connection_tells_itself_who_it_is(known: str) -> None:
    async with running() as mesh, upstream() as server:
        tunnelled(mesh, server.port)
        account = "other" if known == "namesake" else "caller"
        caller = Workload(uid="c", namespace="far", addresses=(FAR,), service_account=account)
        if known != "nobody":
            mesh.push(caller)
        async with client(mesh) as peer:
            data = encode_proxy(HEADER) + request()
            for byte in data[:-1]:
                peer.writer.write(bytes([byte]))
                await asyncio.sleep(0)
            await peer.send(data[-1:])
            assert (await peer.response())[1] == b"hello"
            (downstream,) = mesh.worker.downstreams
            found = downstream.caller.peer
            assert found.source == (name_hash("c") if known == "source" else 0)
            assert (found.far_address[12:], found.far_port) == (FAR, 4711)
        (text,) = await mesh.lines(1)
        assert " 10.96.0.9:80 10.244.3.4:4711 " in text
        assert text.endswith('"spiffe://cluster.local/ns/far/sa/caller" -')


async def test_bytes_behind_the_header_are_the_client_s() -> None:
    async def echo(peer: Peer) -> None:
        await peer.send(await peer.rest())

    async with running() as mesh, upstream(echo) as server:
        tunnelled(mesh, server.port)
        async with client(mesh) as peer:
            header = encode_proxy(replace(HEADER, destination_port=TCP_PORT))
            await peer.send(header + b"early")
            await until(lambda: mesh.worker.relays)
            await peer.send(b" late")
            peer.writer.write_eof()
            assert await peer.rest() == b"early late"


async def test_a_tunnelled_connection_to_a_workload() -> None:
    async with running() as mesh, upstream() as server:
        tunnelled(mesh, server.port)
        gate = service("web").waypoint
        address = bytes([127, 0, 0, 1])
        target = Workload(uid="w", namespace=NAMESPACE, addresses=(address,), waypoint=gate)
        mesh.push(target)
        header = replace(HEADER, destination=address, destination_port=server.port)
        async with client(mesh) as peer:
            await peer.send(encode_proxy(header) + b"hi there\r\n\r\n")
            assert (await peer.response())[1] == b"hello"


async def knock(mesh: Mesh, data: bytes, *, end: bool = False) -> None:
    """A connection that says something and is reset."""
    async with client(mesh) as peer:
        await peer.send(data)
        if end:
            peer.writer.write_eof()
        with pytest.raises(ConnectionResetError):
            await peer.rest()


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (request(), False),
        (encode_proxy(replace(HEADER, identity=None)), False),
        (encode_proxy(HEADER)[:-1], True),
        (b"", True),
    ],
)
async def test_a_tunnelled_connection_without_a_good_header_is_reset(
    data: bytes, end: bool
) -> None:
    async with running() as mesh:
        tunnelled(mesh, 9)
        await knock(mesh, data, end=end)
        assert mesh.worker.stats.refused == {"proxy_header": 1}
        assert not mesh.server.waiting


async def test_a_header_that_doesn_t_come_in_time_isn_t_waited_for() -> None:
    async with running(Limits(proxy=0.1)) as mesh:
        tunnelled(mesh, 9)
        await knock(mesh, encode_proxy(HEADER)[:-1])
        assert mesh.worker.stats.refused == {"proxy_timeout": 1}
        assert not mesh.server.waiting


@pytest.mark.parametrize("what", ["service", "port", "address", "workload"])
async def test_a_target_of_another_waypoint_is_refused(what: str) -> None:
    async with running(Limits(unknown=0.1)) as mesh:
        tunnelled(mesh, 9, mine=what != "service")
        header = HEADER
        if what == "port":
            header = replace(header, destination_port=81)
        elif what == "address":
            header = replace(header, destination=bytes([10, 96, 0, 10]))
        elif what == "workload":
            header = replace(header, destination=bytes([127, 0, 0, 1]))
        await knock(mesh, encode_proxy(header) + request())
        assert mesh.worker.stats.refused == {"unknown_target": 1}


async def test_a_tunnelled_target_that_is_pushed_in_time_is_served() -> None:
    async with running() as mesh, upstream() as server:
        tunnelled(mesh, server.port, mine=False)
        async with client(mesh) as peer:
            await peer.send(encode_proxy(HEADER) + request())
            await until(lambda: any(one.header for one in mesh.server.waiting))
            tunnelled(mesh, server.port)
            assert (await peer.response())[1] == b"hello"


async def test_only_a_tunnelled_connection_may_say_who_it_is() -> None:
    async with running() as mesh, upstream() as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(encode_proxy(HEADER) + request())
            head, _ = await peer.response()
            assert head.startswith(b"http/1.1 400 ")


# Draining


async def test_what_is_under_way_is_finished() -> None:
    go = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.head()
        await go.wait()
        await peer.send(ok())

    async with running() as mesh, upstream(slow) as server:
        serve(mesh, server.port)
        async with client(mesh) as busy, client(mesh) as idle:
            await busy.send(request())
            await until(lambda: server.connections)
            await until(lambda: mesh.worker.connections == 2)
            draining = mesh.worker.tasks.spawn(mesh.server.drain(5, idle=0.1), "drain")
            assert await idle.rest() == b""
            with pytest.raises(ConnectionRefusedError):
                await dial(mesh)
            assert not draining.done()
            go.set()
            head, body = await busy.response()
            assert b"connection: close\r\n" in head
            assert body == b"hello"
            assert await busy.rest() == b""
        await draining


async def test_a_last_request_is_answered_and_told_to_go() -> None:
    async with running() as mesh, upstream() as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.get()
            draining = mesh.worker.tasks.spawn(mesh.server.drain(5, idle=2), "drain")
            await until(lambda: mesh.worker.draining)
            head, _ = await peer.get()
            assert b"connection: close\r\n" in head
            assert await peer.rest() == b""
        await draining


async def test_draining_ends_in_time() -> None:
    async def never(peer: Peer) -> None:
        await peer.rest()

    async with running() as mesh, upstream(never) as server:
        serve(mesh, server.port)
        http = await dial(mesh)
        await http.send(request())
        await until(lambda: server.connections == 1)
        mesh.ask("web", TCP_PORT)
        tcp = await dial(mesh)
        await until(lambda: server.connections == 2)
        mesh.ask("nothing")
        waiting = await dial(mesh)
        await until(lambda: mesh.server.waiting)
        started = mesh.worker.time()
        await mesh.server.drain(0.2)
        assert mesh.worker.time() - started < 2
        await until(lambda: not mesh.worker.connections)
        for peer in (http, tcp, waiting):
            peer.writer.transport.abort()


def test_the_caller_is_known() -> None:
    assert CLIENT == "Kubernetes//Pod/apps/client"
