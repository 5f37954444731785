"""Pods that come and go, and one node agent after another."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from bpf.addresses import mapped
from bpf.layout import FlowFlag
from bpf.layout import Peer as KernelPeer
from daemon.errors import EnrollError
from daemon.policies.identities import Account
from daemon.tunnel.handover import take
from tests.daemon.meshes import ip
from tests.daemon.tunnel.caller import Caller, ResetError, call
from tests.daemon.tunnel.pki import client_context, who
from tests.daemon.tunnel.pods import CLIENT, PORT, SERVER, WHO, Node, serving, until
from tests.support.netns import Netns, netns, pair
from ztunnel_compat.identity import Identity
from ztunnel_compat.names import name_hash, target_hash


def reach(client: Netns, pod: Netns, port: int = 15008) -> bool:
    with client.open_socket() as opened:
        try:
            opened.connect((pod.v4, port))
        except ConnectionRefusedError:
            return False
    return True


async def test_a_pod_is_served_from_open_to_close() -> None:
    async with serving() as node:
        await node.listen()
        assert node.credentials.held == [who("server")]
        async with node.call() as caller:
            stream = caller.connect(node.authority)
            assert await stream.status() == 200
            node.server.close(node.pod.cookie)
            with pytest.raises(ResetError):
                await stream.rest()
        assert not reach(node.client, node.pod)
        assert node.credentials.held == []
        assert not node.authorizer.standings
        node.server.close(node.pod.cookie)


async def test_opened_again_a_pod_keeps_what_it_has() -> None:
    async with serving() as node:
        await node.listen()
        async with node.call() as caller:
            stream = caller.connect(node.authority)
            assert await stream.status() == 200
            node.open()
            await stream.write(b"x")
            assert await stream.exactly(1) == b"x"
        assert node.credentials.held == [who("server")]


async def test_a_port_that_a_program_has() -> None:
    with pair() as (client, pod), pod.listen("0.0.0.0", 15008):
        node = Node(client, pod)
        with pytest.raises(EnrollError, match="port 15008 is taken"):
            node.open()
        assert not node.server.places
        assert not node.credentials.held
        await node.close()


async def test_the_trust_domain_comes_from_the_control_plane() -> None:
    async with serving() as node:
        pod = node.mesh.workload(SERVER)
        assert pod is not None
        node.push(replace(pod, trust_domain="example.org"))
        assert node.credentials.held == [Identity("example.org", "app", "server")]
        await node.listen()
        async with node.call(identity=Identity("example.org", "app", "client")) as caller:
            assert await caller.connect(node.authority).status() == 200


async def test_two_pods_of_one_account() -> None:
    async with serving() as node:
        with netns() as other:
            account = Account("app", "server")
            node.server.open(other.cookie, other.fd, SERVER, account)
            assert node.credentials.held == [who("server")] * 2
            node.server.close(other.cookie)
        assert node.credentials.held == [who("server")]


async def test_what_was_inherited_and_nobody_names_is_closed(tmp_path: Path) -> None:
    async with serving() as node:
        node.server.stop_accepting()
        path = tmp_path / "handover.sock"
        giving = asyncio.ensure_future(node.server.drain(path, 10))
        await until(path.is_socket)
        inherited = await take(path)
        await giving
        assert list(inherited) == [node.pod.cookie]
        successor = Node(node.client, node.pod, inherited=inherited)
        assert reach(node.client, node.pod)
        successor.server.told()
        assert not reach(node.client, node.pod)
        await successor.close()


async def test_one_node_agent_after_another(tmp_path: Path) -> None:
    """New tunnels are the successor's, old ones go on; nobody is refused between."""
    path = tmp_path / "handover.sock"
    async with serving() as old:
        await old.listen()
        async with old.call() as before:
            tunnel = before.connect(old.authority)
            assert await tunnel.status() == 200
            old.server.stop_accepting()
            # Who comes now waits.
            waiting = asyncio.ensure_future(call(old.client, old.pod.v4, client_context(WHO)))
            draining = asyncio.ensure_future(old.server.drain(path, 30))
            await until(path.is_socket)
            assert not waiting.done()
            new = Node(old.client, old.pod, inherited=await take(path))
            new.open()
            after = await waiting
            assert await after.connect(old.authority).status() == 200
            assert new.server.connections == 1
            # The old one's clients are told, and what they have goes on.
            await until(lambda: before.goaways)
            await tunnel.write(b"still")
            assert await tunnel.exactly(5) == b"still"
            assert not draining.done()
            tunnel.end()
            assert await tunnel.rest() == b""
            await draining
            after.transport.abort()
            await after.closed.wait()
            await until(lambda: not new.server.connections)
            await new.close()


async def test_draining_ends_in_time(tmp_path: Path) -> None:
    async with serving() as node:
        await node.listen()
        async with node.call() as caller:
            tunnel = caller.connect(node.authority)
            assert await tunnel.status() == 200
            node.server.stop_accepting()
            await node.server.drain(tmp_path / "handover.sock", 0.2)
            with pytest.raises(ResetError):
                await tunnel.rest()
        assert not node.server.places
        assert not (tmp_path / "handover.sock").exists()


async def test_without_pods_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    async with serving() as node:
        node.server.close(node.pod.cookie)
        node.server.stop_accepting()
        await node.server.drain(tmp_path / "handover.sock", 600)


async def test_a_place_that_can_t_be_listened_at_is_no_reason_to_stay() -> None:
    async with serving() as node:
        node.server.stop_accepting()
        await node.server.drain(Path("/proc/handover.sock"), 600)


async def test_the_pod_s_own_connections_are_outbound_s() -> None:
    async with serving() as node:
        opened = node.pod.open_socket()
        opened.connect(("127.0.0.1", 15001))
        # Nobody redirected it: the kernel has no answer to who it is.
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(opened.recv, 1)
        opened.close()
        assert node.server.outbound.refused == {"no_peer": 1}


async def test_a_handshake_that_ends_after_its_pod_left() -> None:
    async with serving() as node:
        opened = node.client.open_socket(socket.AF_INET)
        opened.connect((node.pod.v4, 15008))
        await until(lambda: node.server.handshakes)
        node.server.close(node.pod.cookie)
        opened.setblocking(False)
        try:
            _, caller = await asyncio.get_running_loop().create_connection(
                Caller, sock=opened, ssl=client_context(WHO), server_hostname=""
            )
        except OSError:
            caller = None
        if caller is not None:
            async with asyncio.timeout(10):
                await caller.closed.wait()
        await until(lambda: not node.server.handshakes)


# Many


def through_both_ends(node: Node) -> None:
    """The client's pod is of this node too: its connections go through its tunnels."""
    node.server.open(node.client.cookie, node.client.fd, CLIENT, Account("app", "client"))
    far = KernelPeer(
        source=name_hash(CLIENT),
        target=target_hash(name_hash(SERVER), PORT),
        original=mapped(ip(node.pod.v4)),
        original_port=PORT,
        flags=FlowFlag.TUNNEL,
        destination=name_hash(SERVER),
        far=mapped(ip(node.pod.v4)),
        far_port=PORT,
    )
    node.server.outbound.query = lambda _: far.pack()


async def tunnels_at_once(node: Node, count: int) -> None:
    """Open so many, say a word over each, and close them."""
    loop = asyncio.get_running_loop()
    opened = []
    for _ in range(count):
        one = node.client.open_socket()
        one.setblocking(False)
        await loop.sock_connect(one, ("127.0.0.1", 15001))
        opened.append(one)
    for number, one in enumerate(opened):
        await loop.sock_sendall(one, b"%08d" % number)
    for number, one in enumerate(opened):
        got = b""
        while len(got) < 8:
            got += (await loop.sock_recv(one, 8)) or b"an end"
        assert got == b"%08d" % number
    assert node.server.tunnels == count
    for one in opened:
        one.close()
    relays = node.server.outbound.relays
    await until(lambda: not node.server.tunnels and not relays, 120)


def resident() -> int:
    """Bytes of memory that this process has."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize(
    ("at_once", "rounds"), [(50, 2), pytest.param(2000, 5, marks=pytest.mark.soak)]
)
async def test_memory_comes_back(at_once: int, rounds: int) -> None:
    """Both ends of each tunnel, its client and its server are in this process."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    async with serving() as node:
        # What the test notes of each isn't the tunnels'.
        notes = ((await node.listen()).taken, node.log.lines, node.marks.marks)
        through_both_ends(node)
        before = 0
        for _ in range(rounds + 1):
            await tunnels_at_once(node, at_once)
            for noted in notes:
                noted.clear()
            before = before or resident()
        after = resident()
        assert not node.authorizer.admitted
        assert not node.server.outbound.openings
        assert not node.server.outbound.relays
        assert after < before * 1.1, f"{before} bytes before, {after} after"
