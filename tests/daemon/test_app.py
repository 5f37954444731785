"""The whole node agent: a real process, real programs, a control plane in this one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpf import mounts
from bpf.layout import Flow, FlowKey
from bpf.maps import Maps
from daemon.dumps import tandem_version
from tests.daemon.meshes import key_of, uid_of
from tests.daemon.process import (
    CLIENT,
    ECHO,
    XDS_PORT,
    Daemon,
    NodePlaces,
    PodProgram,
    in_node,
    pod,
    until,
    web,
)
from tests.support.netns import Netns, lan, netns
from tests.ztunnel_compat.ads_server import AdsServer, Stream, serving
from ztunnel_compat.drivers.zds_server import ZdsServer
from ztunnel_compat.names import name_hash
from ztunnel_compat.xds import AUTHORIZATION_TYPE
from ztunnel_compat.zds import AddWorkload

VIP = "10.96.0.1"
CGROUPS = next(m.point for m in mounts.current() if m.kind == "cgroup2")


@dataclass
class Node:
    """A node with a client's and a server's pod."""

    client: Netns
    server: Netns
    daemon: Daemon

    def program(self, netns: Netns, code: str, *arguments: str) -> PodProgram:
        return PodProgram(netns, self.daemon.places.pods_cgroup(), code, *arguments)

    def mesh(self) -> list[object]:
        return [web(VIP), pod("web-1", self.server.v4, "web"), pod("client", self.client.v4)]


@pytest.fixture
def node(places: NodePlaces) -> Iterator[Node]:
    with (
        tempfile.TemporaryDirectory() as folder,
        netns() as home,
        lan(2) as (client, server),
    ):
        yield Node(client, server, Daemon(places, home, Path(folder)))


@contextlib.asynccontextmanager
async def enrolling(node: Node) -> AsyncIterator[ZdsServer]:
    server = ZdsServer(node.daemon.zds_path)
    serving_pods = asyncio.ensure_future(server.run())
    try:
        yield server
    finally:
        serving_pods.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving_pods


async def first_push(ads: AdsServer, *resources: object) -> Stream:
    """Answer a new stream; returns it."""
    stream = await ads.stream()
    await stream.begin()
    stream.push("n1", *resources)
    stream.answer(AUTHORIZATION_TYPE, "n2")
    return stream


async def test_life_of_a_node(node: Node) -> None:
    daemon = node.daemon
    async with contextlib.AsyncExitStack() as stack:
        async with in_node(daemon.node):
            ads = await stack.enter_async_context(serving(XDS_PORT))
        zds = await stack.enter_async_context(enrolling(node))
        await daemon.start()
        stack.push_async_callback(daemon.stop, signal.SIGKILL)

        # Enrolment doesn't wait for the control plane; readiness does.
        await asyncio.wait_for(
            zds.add(AddWorkload("u1", "client", "app", "default"), node.client.fd), 20
        )
        await zds.add(AddWorkload("u2", "web-1", "app", "default"), node.server.fd)
        status, text = await daemon.get("15021/healthz/ready")
        assert (status, "no complete push" in text) == (503, True)

        echo = node.program(node.server, ECHO, node.server.v4, "8080")
        stack.callback(echo.close)
        assert echo.line() == "listening"
        client = node.program(node.client, CLIENT)
        stack.callback(client.close)

        stream = await first_push(ads, *node.mesh())
        await until(daemon.ready, "ready after the first push")
        assert connects(client) == f"connected to {VIP} 80"
        assert client.ask("hello") == "hello"
        dump = await daemon.dump()
        assert list(dump["services"]) == [key_of("web")]
        assert sorted(p["uid"] for p in dump["enrolled"].values()) == [
            uid_of("client"),
            uid_of("web-1"),
        ]
        assert dump["counters"]["CONNECT_SERVICE"] == 1
        assert dump["version"]["tandem"] == tandem_version()
        assert dump["xds"]["synced"] is True

        # Killed: what is in the kernel stays in force, old connections and new ones.
        assert await daemon.stop(signal.SIGKILL) == -signal.SIGKILL
        assert client.ask("still there") == "still there"
        assert connects(client) == f"connected to {VIP} 80"
        assert client.ask("hello again") == "hello again"

        # Started again: adopted, and untouched until a complete push is there.
        await daemon.start()
        stream = await ads.stream()
        await stream.begin()
        stream.push("n1", pod("client", node.client.v4))
        await until(lambda: has_workloads(daemon, 1), "the first of two answers taken in")
        assert not await daemon.ready()
        assert "kernel programs adopted" in daemon.log
        assert client.ask("and now") == "and now"
        assert connects(client) == f"connected to {VIP} 80"
        stream.push("n3", *node.mesh())
        stream.answer(AUTHORIZATION_TYPE, "n2")
        await until(daemon.ready, "ready again")
        assert client.ask("after the push") == "after the push"
        assert (await daemon.dump())["counters"]["CONNECT_SERVICE"] == 3

        # A waypoint that isn't there: refused, never passed by.
        stream.push("n4", web(VIP, waypoint="gate"))
        await until(lambda: connects(client) == "ConnectionRefusedError", "refused")
        stream.push("n5", web(VIP))
        await until(lambda: connects(client).startswith("connected"), "back")

        # No endpoint: refused. No service, or no longer enrolled: not ours.
        stream.push("n6", removed=(uid_of("web-1"),))
        await until(lambda: connects(client) == "ConnectionRefusedError", "refused")
        await zds.remove("u1")
        assert connects(client) == "OSError"  # no route to it

        assert await daemon.stop() == 0
        assert "stopping" in daemon.log
        assert (daemon.places.pin_dir / "maps" / "addresses").exists()


def connects(client: PodProgram) -> str:
    """Open a new connection to the service; what came of it."""
    return client.ask(f"connect {VIP} 80")


async def has_workloads(daemon: Daemon, count: int) -> bool:
    status, dump = await daemon.get("15000/config_dump")
    return status == 200 and len(dump["workloads"]) == count


async def test_a_pods_flows_end_with_its_netns(node: Node) -> None:
    daemon = node.daemon
    left = FlowKey(bytes(16), bytes(16), 40000, 80, 0)
    async with contextlib.AsyncExitStack() as stack:
        zds = await stack.enter_async_context(enrolling(node))
        await daemon.start()
        stack.push_async_callback(daemon.stop, signal.SIGKILL)
        with netns() as gone:
            await asyncio.wait_for(
                zds.add(AddWorkload("u1", "client", "app", "default"), gone.fd), 20
            )
            maps = Maps.open(daemon.places.pin_dir)
            stack.callback(maps.close)
            status, tables = await daemon.get("15000/debug/tables")
            assert status == 200
            assert [pod["netns"] for pod in tables["pods"]] == [gone.cookie]
            maps.flows.put(left, Flow(name_hash(uid_of("client")), 1, bytes(16), 80, 0))
            await zds.remove("u1")
            assert (await daemon.get("15000/debug/tables"))[1]["pods"] == []
            assert maps.flows.get(left) is not None
        await until(lambda: maps.flows.get(left) is None, "the flow is swept")


@pytest.mark.parametrize(
    ("environment", "status", "said"),
    [
        ({"XDS_ADDRESS": "istiod"}, 2, "XDS_ADDRESS='istiod' is no host:port"),
        ({"CGROUP_ROOT": "/nowhere"}, 1, "below /nowhere this node lacks: cgroup v2"),
        ({"CGROUP_ROOT": f"{CGROUPS}/not-there"}, 1, "not-there' is no directory"),
        ({"PIN_DIR": "/tmp/pins"}, 1, "/tmp/pins"),
    ],
)
async def test_what_is_missing_is_named(
    node: Node, environment: dict[str, str], status: int, said: str
) -> None:
    node.daemon.environment = environment
    await node.daemon.start()
    assert node.daemon.process is not None
    assert await asyncio.wait_for(node.daemon.process.wait(), 20) == status
    assert said in node.daemon.log
    assert "Traceback" not in node.daemon.log
    assert not node.daemon.places.pin_dir.exists()


async def test_a_second_agent_on_a_node_changes_nothing(node: Node) -> None:
    async with in_node(node.daemon.node):
        taken = await asyncio.start_server(lambda _r, w: w.close(), "0.0.0.0", 15021)
    async with taken:
        await node.daemon.start()
        assert node.daemon.process is not None
        assert await asyncio.wait_for(node.daemon.process.wait(), 20) == 1
        assert "is another one of us running here?" in node.daemon.log
        assert not node.daemon.places.pin_dir.exists()
