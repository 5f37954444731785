"""DNS for a pod in a real netns, with a real cluster DNS behind it."""

from __future__ import annotations

import asyncio
import random
import socket

import dns.flags
import dns.message
import dns.rcode
import pytest

from daemon.dns import server as module
from daemon.dns.metrics import Bound, Labels
from daemon.dns.server import Limits
from daemon.dns.sockets import PORT
from tests.daemon.dns.cluster_dns import silent
from tests.daemon.dns.meshes import full, mesh, pod, query, service
from tests.daemon.dns.world import (
    CLIENT,
    COOKIE,
    over_tcp,
    over_udp,
    received,
    returns,
    running,
)
from tests.support.waiting import until

SOURCE = ("client-app", "v1")


def texts(message: dns.message.Message) -> set[str]:
    return {record.to_text() for records in message.answer for record in records}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_names_of_the_mesh_and_others(family: socket.AddressFamily) -> None:
    async with running() as world:
        reader, writer = await world.tcp(family)
        with world.udp(family) as client:
            for ask in (
                lambda wire: over_udp(client, wire),
                lambda wire: over_tcp(reader, writer, wire),
            ):
                made = await ask(query("web.app", payload=1232, number=99))
                assert (made.id, texts(made)) == (99, {"10.96.0.1"})
                assert made.flags & dns.flags.AA
                made = await ask(query("www.google.com", number=98))
                assert (made.id, texts(made)) == (98, {"9.9.9.9"})
                assert not made.flags & dns.flags.AA
                assert (await ask(query("nothing.com"))).rcode() == dns.rcode.NXDOMAIN
        writer.close()
        assert [over for _, _, over in world.cluster.asked] == [False] * 2 + [True] * 2
        metrics = world.server.metrics
        assert metrics.requests == {
            Labels("a", "udp", *SOURCE): 3,
            Labels("a", "tcp", *SOURCE): 3,
        }
        assert metrics.upstream_requests == {
            Labels("a", "udp", *SOURCE): 2,
            Labels("a", "tcp", *SOURCE): 2,
        }
        assert metrics.upstream_failures == {}
        assert sum(metrics.upstream_durations[Labels("a", "udp", *SOURCE)].buckets) == 2


async def test_several_addresses_in_any_order_and_all_of_them_by_tcp() -> None:
    async with running() as world:
        world.apply(
            service(full("big")),
            *(pod(f"b{n}", f"10.1.0.{n}", of=full("big")) for n in range(1, 101)),
        )
        firsts, messages = set(), [await world.ask(query("big")) for _ in range(20)]
        for made in messages:
            assert made.flags & dns.flags.TC
            assert len(made.to_wire()) <= 512
            firsts.add(made.answer[0][0].to_text())
        assert len(firsts) > 5
        whole = await over_tcp(*await world.tcp(), query("big"))
        assert len(texts(whole)) == 100


async def test_a_pod_that_the_mesh_does_not_know_yet_is_of_its_namespace() -> None:
    async with running() as world:
        world.apply(removed=(CLIENT,))
        assert texts(await world.ask(query("web"))) == {"10.96.0.1"}
        assert world.server.metrics.requests == {Labels("a", "udp"): 1}


async def test_a_netns_whose_pod_changes() -> None:
    async with running() as world:
        world.server.open(COOKIE, world.pod.fd, "Kubernetes//Pod/other/x", "other")
        assert texts(await world.ask(query("web"))) == {"10.96.0.3"}
        assert len(world.server.pods) == 1


async def test_nobody_answers_upstream() -> None:
    async with running(seconds=0.05) as world:
        world.cluster.behaviour = silent
        made = await world.ask(query("www.google.com", payload=1232))
        assert (made.rcode(), made.edns) == (dns.rcode.SERVFAIL, 0)
        assert world.server.metrics.upstream_failures == {Labels("a", "udp", *SOURCE): 1}
        assert texts(await world.ask(query("web"))) == {"10.96.0.1"}


async def test_until_the_mesh_is_ready_the_upstream_answers() -> None:
    async with running(ready=False) as world:
        world.apply(*mesh())
        assert texts(await world.ask(query("web"))) == {"9.9.9.9"}
        # What it doesn't know may be the mesh's: it waits.
        with world.udp() as client:
            client.send(query("nowhere.else"))
            client.send(query("no.such"))
            await until(lambda: sum(world.server.metrics.upstream_requests.values()) == 3)
            world.apply(service("no.such", "240.240.0.1"))
            world.ready.set()
            made = [await received(client) for _ in range(2)]
            found = {str(m.question[0].name): (m.rcode(), texts(m)) for m in made}
            assert found == {
                "nowhere.else.": (dns.rcode.NXDOMAIN, set()),
                "no.such.": (dns.rcode.NOERROR, {"240.240.0.1"}),
            }
        assert texts(await world.ask(query("web"))) == {"10.96.0.1"}


async def test_nothing_waits_for_a_mesh_that_does_not_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SETTLING", 0.05)
    async with running(ready=False) as world:
        for _ in range(2):
            assert (await world.ask(query("no.such"))).rcode() == dns.rcode.NXDOMAIN


async def test_queries_that_wait_are_bounded_and_counted() -> None:
    async with running(limits=Limits(of_one_pod=3, of_all=10)) as world:
        world.cluster.held = asyncio.Event()
        refused = world.server.metrics.refused
        with world.udp() as client:
            for number in range(8):
                client.send(query(f"n{number}.com", number=number))
            await until(lambda: refused[Bound.POD_QUERIES] == 5)
            # Names of the mesh are answered all the same.
            assert texts(await over_udp(client, query("web"))) == {"10.96.0.1"}
            world.cluster.held.set()
            ids = {(await received(client)).id for _ in range(3)}
            assert ids == {0, 1, 2}
            assert texts(await over_udp(client, query("a.com"))) == {"9.9.9.9"}
        assert world.server.waiting == 0


async def test_all_pods_together_are_bounded() -> None:
    async with running(limits=Limits(of_one_pod=9, of_all=2)) as world:
        world.cluster.held = asyncio.Event()
        with world.udp() as client:
            for number in range(4):
                client.send(query(f"n{number}.com", number=number))
            await until(lambda: world.server.metrics.refused[Bound.QUERIES] == 2)


async def test_a_pod_is_served_until_it_is_closed() -> None:
    async with running() as world:
        world.server.close(COOKIE)
        world.server.close(COOKIE)
        with world.udp() as client:
            await until(lambda: refused(client))
        world.open()
        assert texts(await world.ask(query("web"))) == {"10.96.0.1"}


def refused(client: socket.socket) -> bool:
    """Whether nobody is there; the answer to an earlier question may come first."""
    try:
        client.send(query("web"))
        client.recv(999)
    except ConnectionRefusedError:
        return True
    except BlockingIOError:
        pass
    return False


async def test_a_pod_that_comes_back_before_its_queries_are_answered() -> None:
    async with running() as world:
        world.cluster.held = asyncio.Event()
        with world.udp() as before:
            before.send(query("a.com", number=8))
            await until(lambda: world.cluster.asked)
            world.server.close(COOKIE)
            with world.udp() as client:
                await until(lambda: refused(client))
            world.open()
            for _ in range(20):
                assert texts(await world.ask(query("web"))) == {"10.96.0.1"}
            world.cluster.held.set()
            assert (await received(before)).id == 8


async def test_what_is_in_flight_at_the_end_is_answered() -> None:
    async with running() as world:
        world.cluster.held = asyncio.Event()
        reader, writer = await world.tcp()
        idle_reader, idle_writer = await world.tcp()
        with world.udp() as client:
            client.send(query("a.com", number=1))
            wire = query("b.com", number=2)
            writer.write(len(wire).to_bytes(2, "big") + wire)
            await until(lambda: len(world.cluster.asked) == 2)
            # Sent, and not read yet when the end begins.
            client.send(query("web", number=3))
            ending = asyncio.ensure_future(world.server.drain())
            assert (await received(client)).id == 3
            assert await idle_reader.read() == b""
            with world.udp() as late:
                assert refused(late)
            assert not ending.done()
            world.cluster.held.set()
            assert (await received(client)).id == 1
            assert int.from_bytes((await reader.readexactly(4))[2:], "big") == 2
            await returns(ending)
            await returns(reader.read())
        # Nobody is taken in any more.
        world.open()
        assert world.server.pods == {}
        writer.close()
        idle_writer.close()


async def test_the_end_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN", 0.05)
    async with running(seconds=60) as world:
        world.cluster.held = asyncio.Event()
        with world.udp() as client:
            client.send(query("a.com"))
            await until(lambda: world.cluster.asked)
            await returns(world.server.drain())


async def test_without_an_upstream_pods_are_not_served() -> None:
    async with running() as world:
        await world.server.drain()
        world.server.closing = False
        world.server.upstream.servers = ()
        world.open()
        assert world.server.pods == {}


async def test_a_pod_that_has_the_port_itself_goes_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as world:
        world.server.close(COOKIE)
        with world.udp() as client:
            await until(lambda: refused(client))
        with world.pod.listen("127.0.0.1", PORT):
            world.open()
        assert world.server.pods == {}
        assert "has no DNS of the mesh" in caplog.text


async def test_whatever_is_sent_it_goes_on() -> None:
    """Thousands of damaged messages by UDP, hundreds by TCP; then a good one."""
    rng = random.Random(4)
    async with running() as world:
        with world.udp() as client:
            for _ in range(3000):
                client.send(damaged(rng))
                if rng.random() < 0.05:
                    await asyncio.sleep(0)
            for _ in range(100):
                _, writer = await world.tcp()
                writer.write(rng.randbytes(rng.randrange(40)) + damaged(rng))
                writer.close()
            await until(lambda: not world.server.pods[COOKIE].endpoint.connections)
        assert texts(await world.ask(query("web"))) == {"10.96.0.1"}
        assert texts(await over_tcp(*await world.tcp(), query("web"))) == {"10.96.0.1"}


def damaged(rng: random.Random) -> bytes:
    wire = bytearray(query("web.app", payload=1232))
    for _ in range(rng.randrange(1, 4)):
        wire[rng.randrange(len(wire))] = rng.randrange(256)
    return bytes(wire[: rng.randrange(len(wire) + 1)]) if rng.random() < 0.3 else bytes(wire)
