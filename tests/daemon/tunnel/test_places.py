"""A namespace that several workloads share: who connects, whose a port is, who answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bpf.addresses import mapped
from bpf.layout import FlowFlag
from bpf.layout import Peer as KernelPeer
from daemon.errors import EnrollError
from daemon.policies.identities import Account
from daemon.tunnel.bounds import Bound
from daemon.tunnel.handover import take
from daemon.tunnel.places import SharedPlace
from tests.daemon.meshes import ip, workload
from tests.daemon.tunnel.caller import Caller, ResetError
from tests.daemon.tunnel.pki import who
from tests.daemon.tunnel.pods import CLIENT, SERVER, Node, mesh_of, until
from tests.support.netns import Netns, pair
from tests.ztunnel_compat.policies import exact, policy, when
from ztunnel_compat.certificates import verify_peer
from ztunnel_compat.hbone import server_name_of
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import TunnelProtocol, Workload
from ztunnel_compat.names import name_hash, target_hash, workload_entry_uid
from ztunnel_compat.policy import Action, PolicyScope

PORTS = {"db": 7001, "web": 7002, "twin": 7003}
#: Two of them have one account.
ACCOUNTS = {"db": "db", "web": "web", "twin": "db"}
NOBODYS = 7009
ONLY_WEB = when(principals=(exact("cluster.local/ns/app/sa/web"),))
ANYBODY = when(not_namespaces=(exact("nowhere"),))


def uid(name: str) -> str:
    return workload_entry_uid("Kubernetes", "app", name)


def member(name: str, netns: Netns) -> Workload:
    return replace(
        workload(name, netns.v4),
        uid=uid(name),
        addresses=(ip(netns.v4), ip(netns.v6)),
        service_account=ACCOUNTS[name],
        tunnel_protocol=TunnelProtocol.HBONE,
    )


class Shared(Node):
    """Members in the namespace of ``pod``; each has a server that echoes."""

    def enrol(self, name: str) -> None:
        self.push(member(name, self.pod))
        self.ports[PORTS[name]] = name_hash(uid(name))
        self.server.open_member(self.pod.cookie, self.pod.fd, uid(name))

    def leave(self, name: str) -> None:
        self.server.close_member(self.pod.cookie, uid(name))

    async def status(self, caller: Caller, port: int) -> int:
        return await caller.connect(f"{self.pod.v4}:{port}").status()


@contextlib.asynccontextmanager
async def sharing(*names: str) -> AsyncIterator[Shared]:
    with pair() as (client, pod):
        node = Shared(client, pod)
        node.push(removed=(SERVER,))
        try:
            for name in names:
                node.enrol(name)
            for port in (*PORTS.values(), NOBODYS):
                await node.listen(port=port)
            yield node
        finally:
            await node.close()


def shown(caller: Caller) -> Identity:
    """Whose certificate the server has shown."""
    tls = caller.transport.get_extra_info("ssl_object")
    return verify_peer(tls.getpeercert(binary_form=True), {"cluster.local"})


def reach(client: Netns, pod: Netns) -> bool:
    with client.open_socket() as opened:
        return opened.connect_ex((pod.v4, 15008)) == 0


async def test_of_one_account_the_client_needs_to_say_nothing() -> None:
    async with sharing("db", "twin") as node:
        for name in ("", "outbound_.80_._.db.app.svc.cluster.local"):
            async with node.call(server_name=name) as caller:
                assert shown(caller) == who("db")
                assert await node.status(caller, PORTS["db"]) == 200
                assert await node.status(caller, PORTS["twin"]) == 200
        assert {mark.destination for mark in node.marks.marks} == {
            name_hash(uid("db")),
            name_hash(uid("twin")),
        }


@pytest.mark.parametrize("name", ["db", "web"])
async def test_of_several_accounts_the_client_says_which_it_wants(name: str) -> None:
    async with sharing("db", "web") as node:
        async with node.call(server_name=server_name_of(who(name))) as caller:
            assert shown(caller) == who(name)
            for other, port in PORTS.items():
                assert await node.status(caller, port) == (200 if other == name else 503)
        assert node.server.refused == {Bound.PORT: 2}


@pytest.mark.parametrize("name", ["", server_name_of(who("nobody"))])
async def test_who_does_not_say_it_or_wants_another_is_refused(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with sharing("db", "web") as node:
        with pytest.raises(ssl.SSLError):
            async with node.call(server_name=name):
                pass
        await until(lambda: node.server.refused == {Bound.CERTIFICATE: 1})
    reason = "the one that the client wants" if name else "doesn't say which it wants"
    assert reason in caplog.text


async def test_nobody_elses_port_is_led_to(caplog: pytest.LogCaptureFixture) -> None:
    async with sharing("db") as node:
        async with node.call() as caller:
            assert await node.status(caller, NOBODYS) == 503
            assert await node.status(caller, 15008) == 503
        assert node.server.refused == {Bound.PORT: 2}
        assert not node.marks.marks
        assert f"{uid('db')}: {who('client')}: {node.pod.v4}:{NOBODYS}" in caplog.text


async def test_each_has_its_own_policies() -> None:
    async with sharing("db", "twin") as node:
        node.push(
            policy("web", ONLY_WEB, scope=PolicyScope.WORKLOAD_SELECTOR),
            replace(member("twin", node.pod), authorization_policies=("app/web",)),
        )
        async with node.call() as caller:
            assert await node.status(caller, PORTS["db"]) == 200
            assert await node.status(caller, PORTS["twin"]) == 401
            held = caller.connect(f"{node.pod.v4}:{PORTS['db']}")
            assert await held.status() == 200
            node.push(
                policy("all", ANYBODY, action=Action.DENY, scope=PolicyScope.WORKLOAD_SELECTOR),
                replace(member("db", node.pod), authorization_policies=("app/all",)),
            )
            with pytest.raises(ResetError):
                await held.rest()


async def test_one_of_them_leaves_and_then_the_other() -> None:
    async with sharing("db", "twin") as node:
        async with node.call() as caller:
            streams = [caller.connect(f"{node.pod.v4}:{PORTS[n]}") for n in ("db", "twin")]
            for stream in streams:
                assert await stream.status() == 200
            node.leave("db")
            with pytest.raises(ResetError):
                await streams[0].rest()
            assert await node.status(caller, PORTS["db"]) == 503
            await streams[1].write(b"x")
            assert await streams[1].exactly(1) == b"x"
            node.leave("db")
            node.leave("twin")
            with pytest.raises(ResetError):
                await streams[1].rest()
        assert not reach(node.client, node.pod)
        assert not node.credentials.held
        assert not node.server.places
        node.enrol("db")
        assert reach(node.client, node.pod)


async def test_what_waits_for_its_policies_comes_to_nothing_when_it_leaves() -> None:
    async with sharing("db", "twin") as node:
        node.synced.clear()
        async with node.call() as caller:
            stream = caller.connect(f"{node.pod.v4}:{PORTS['db']}")
            await until(lambda: node.server.tunnels)
            node.leave("db")
            node.synced.set()
            assert await stream.status() == 503


async def test_the_control_plane_says_whose_account_it_is() -> None:
    async with sharing("db") as node:
        node.push(replace(member("db", node.pod), service_account="other"))
        assert node.credentials.held == [who("other")]
        async with node.call() as caller:
            assert shown(caller) == who("other")
            assert await node.status(caller, PORTS["db"]) == 200
        node.push(removed=(uid("db"),))
        assert node.credentials.held == [who("other")]


async def test_an_account_without_a_certificate_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with sharing("db", "web") as node:
        node.credentials.held.remove(who("web"))
        async with node.call(server_name=server_name_of(who("db"))) as caller:
            assert await node.status(caller, PORTS["db"]) == 200
        with pytest.raises(ssl.SSLError):
            async with node.call(server_name=server_name_of(who("web"))):
                pass
        await until(lambda: node.server.refused == {Bound.CERTIFICATE: 1})
        node.credentials.held.append(who("web"))
    assert f"{who('web')} isn't held" in caplog.text


async def test_a_port_that_a_program_has() -> None:
    with pair() as (client, pod), pod.listen("127.0.0.1", 15001):
        node = Shared(client, pod)
        with pytest.raises(EnrollError, match="port 15001 is taken"):
            node.enrol("db")
        assert not node.credentials.held
        await node.close()


async def test_in_a_pods_own_namespace_its_processes_are_the_pod() -> None:
    async with sharing() as node:
        node.push(*mesh_of(node.client, node.pod).workloads())
        node.open()
        node.enrol("db")
        assert node.credentials.held == [who("server")]
        async with node.call() as caller:
            assert await node.status(caller, PORTS["db"]) == 200


async def test_a_successor_has_the_listeners(tmp_path: Path) -> None:
    """Pods' and members' enrolment each say who is there, in any order."""
    path = tmp_path / "handover.sock"
    async with sharing("db") as node:
        node.server.stop_accepting()
        giving = asyncio.ensure_future(node.server.drain(path, 10))
        await until(path.is_socket)
        successor = Shared(node.client, node.pod, inherited=await take(path), tellers=2)
        await giving
        successor.server.told()
        assert reach(node.client, node.pod)
        listeners = successor.server.inherited[node.pod.cookie]
        successor.enrol("db")
        place = successor.server.places[node.pod.cookie]
        assert isinstance(place, SharedPlace)
        assert place.listeners is listeners
        successor.server.told()
        async with successor.call() as caller:
            assert await successor.status(caller, PORTS["db"]) == 200
        await successor.close()


# Outbound


async def through(node: Shared, source: str, destination: str) -> bytes:
    """What comes back of what a process of the client's namespace says to a member."""
    far = KernelPeer(
        source=name_hash(source),
        target=target_hash(name_hash(uid(destination)), PORTS[destination]),
        original=mapped(ip(node.pod.v4)),
        original_port=PORTS[destination],
        flags=FlowFlag.TUNNEL,
        destination=name_hash(uid(destination)),
        far=mapped(ip(node.pod.v4)),
        far_port=PORTS[destination],
    )
    node.server.outbound.query = lambda _: far.pack()
    loop = asyncio.get_running_loop()
    with node.client.open_socket() as opened:
        opened.setblocking(False)
        await loop.sock_connect(opened, ("127.0.0.1", 15001))
        await loop.sock_sendall(opened, b"x")
        return await loop.sock_recv(opened, 1)


async def test_our_own_client_says_which_it_wants_where_there_are_several() -> None:
    async with sharing("db") as node:
        node.server.open(node.client.cookie, node.client.fd, CLIENT, Account("app", "client"))
        assert await through(node, CLIENT, "db") == b"x"
        node.enrol("web")
        for name in ("db", "web"):
            assert await through(node, CLIENT, name) == b"x"
        names = {key.server_name for key in node.server.outbound.pool.groups}
        assert names == {"", server_name_of(who("db")), server_name_of(who("web"))}
        node.server.close(node.client.cookie)


async def test_each_connects_with_its_own_certificate() -> None:
    async with sharing("db") as node:
        for name in ("web", "twin"):
            node.push(replace(member(name, node.client)))
            node.server.open_member(node.client.cookie, node.client.fd, uid(name))
            assert await through(node, uid(name), "db") == b"x"
        sources = {key.source for key in node.server.outbound.pool.groups}
        assert sources == {who("web"), who("db")}
        node.server.close_member(node.client.cookie, uid("web"))
        await until(lambda: len(node.server.outbound.pool.groups) == 1)
        assert await through(node, uid("twin"), "db") == b"x"
        with pytest.raises(ConnectionResetError):
            await through(node, uid("web"), "db")
        assert node.server.outbound.refused == {"foreign_source": 1}
        node.server.close(node.client.cookie)


async def test_who_leaves_is_broken_off_and_no_other() -> None:
    async with sharing("db") as node:
        loop = asyncio.get_running_loop()
        held: dict[str, socket.socket] = {}
        for name in ("web", "twin"):
            node.push(member(name, node.client))
            node.server.open_member(node.client.cookie, node.client.fd, uid(name))
            assert await through(node, uid(name), "db") == b"x"
            held[name] = node.client.open_socket()
            held[name].setblocking(False)
            await loop.sock_connect(held[name], ("127.0.0.1", 15001))
            await loop.sock_sendall(held[name], b"x")
            assert await loop.sock_recv(held[name], 1) == b"x"
        node.server.close_member(node.client.cookie, uid("web"))
        with pytest.raises(ConnectionResetError):
            await loop.sock_recv(held["web"], 1)
        await loop.sock_sendall(held["twin"], b"y")
        assert await loop.sock_recv(held["twin"], 1) == b"y"
        for one in held.values():
            one.close()
        node.server.close(node.client.cookie)
