"""The cluster DNS as pods see it."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner import dnsserver as module
from deploy.standalone.runner.dnsserver import DnsServer
from deploy.standalone.runner.resolver import Resolver
from deploy.standalone.runner.upstream import Upstream
from deploy.standalone.runner.zone import Zone
from tests.deploy.standalone.runner.worlds import World, make_config, run_in, running
from tests.support.programs import RESOLVE

CONFIG = make_config("dnstest", 164)


async def test_pods_resolve_by_the_systems_resolver(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.pod("client", ["sleep", "600"])
    world.server("db-0")
    world.service("web", ["db-0"], ["10.165.0.20", "fd00:20:165::20"])
    world.service("db", ["db-0"], [])
    world.write()
    async with running(CONFIG, world) as mesh:
        await mesh.wait_ready()
        names = ["web", "web.default", "web.default.svc.cluster.local.", "db-0.db", "client"]
        names += ["nothing", "db.other"]
        status, output = await run_in(CONFIG, "client", "python3", "-c", RESOLVE, *names)
        assert status == 0, output
        found = json.loads(output)
        both = ["10.165.0.20", "fd00:20:165::20"]
        endpoint = list(mesh.reporter.current["default", "db-0"].ips)
        assert found.pop("client") == list(mesh.reporter.current["default", "client"].ips)
        # The name alone is asked of the machine's resolvers, if it has any.
        unknown = {found.pop("nothing"), found.pop("db.other")}
        assert unknown <= {socket.EAI_NONAME, socket.EAI_AGAIN}
        assert found == {
            "web": both,
            "web.default": both,
            "web.default.svc.cluster.local.": both,
            "db-0.db": endpoint,
        }
        # From the machine, over both protocols and families.
        query = dns.message.make_query("web.default.svc.cluster.local", "A")
        for address in ("10.165.0.10", "fd00:20:165::a"):
            for ask in (dns.asyncquery.udp, dns.asyncquery.tcp):
                answer = await ask(query, address, timeout=5)
                assert answer.answer[0][0].to_text() == "10.165.0.20"
        # What is withdrawn is gone from DNS as well.
        world.services.pop()
        world.write()
        query = dns.message.make_query("db.default.svc.cluster.local", "A")
        async with asyncio.timeout(10):
            while (await dns.asyncquery.udp(query, "10.165.0.10", timeout=5)).rcode() != 3:
                await asyncio.sleep(0.01)


class Stuck(Upstream):
    """Never answers."""

    async def ask(self, query: dns.message.Message, *, tcp: bool) -> None:
        await asyncio.sleep(60)


def sockets() -> tuple[socket.socket, socket.socket]:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    for one in (udp, tcp):
        one.bind(("127.0.0.1", 0))
    return udp, tcp


async def test_bounds_hold_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUESTIONS", 2)
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 1)
    server = DnsServer(Resolver(Zone(MeshConfig(), ()), Stuck()))
    udp, tcp = sockets()
    await server.listen(udp, tcp)
    try:
        wire = dns.message.make_query("example.com", "A").to_wire()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for _ in range(5):
                client.sendto(wire, udp.getsockname())
            async with asyncio.timeout(5):
                while server.dropped < 3:
                    await asyncio.sleep(0.01)
        assert server.questions == 2
        _, first = await asyncio.open_connection(*tcp.getsockname())
        async with asyncio.timeout(5):
            while not server.connections:
                await asyncio.sleep(0.01)
        reader, second = await asyncio.open_connection(*tcp.getsockname())
        assert await reader.read() == b""
        assert server.dropped == 4
        first.close()
        second.close()
    finally:
        await server.close()


async def test_a_connection_takes_several_questions() -> None:
    server = DnsServer(Resolver(Zone(MeshConfig(), ()), Stuck()))
    udp, tcp = sockets()
    await server.listen(udp, tcp)
    try:
        reader, writer = await asyncio.open_connection(*tcp.getsockname())
        query = dns.message.make_query("no.svc.cluster.local", "A").to_wire()
        for _ in range(3):
            writer.write(len(query).to_bytes(2, "big") + query)
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = dns.message.from_wire(await reader.readexactly(size))
            assert answer.rcode() == dns.rcode.NXDOMAIN
        writer.close()
    finally:
        await server.close()
