"""The whole node agent: a real process, real programs, a control plane in this one."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bpf import mounts
from bpf.layout import Flow, FlowKey
from bpf.maps import Maps
from daemon.dns.sockets import PORT as DNS_PORT
from daemon.dumps import tandem_version
from proto import authorization_pb2
from tests.daemon.dns import cluster_dns
from tests.daemon.dns.meshes import query
from tests.daemon.dns.world import over_udp, received
from tests.daemon.meshes import hostname, ip, key_of, uid_of
from tests.daemon.process import (
    CLIENT,
    ECHO,
    XDS_PORT,
    Daemon,
    NodePlaces,
    PodProgram,
    enrolling,
    in_node,
    pod,
    until,
    web,
)
from tests.support.netns import Netns, lan, netns
from tests.ztunnel_compat.ads_server import AdsServer, Stream, policy, serving, workload
from ztunnel_compat.drivers.zds_server import ZdsServer
from ztunnel_compat.errors import ZdsError
from ztunnel_compat.xds import AUTHORIZATION_TYPE
from ztunnel_compat.zds import AddWorkload

VIP = "10.96.0.1"
CGROUPS = next(m.point for m in mounts.current() if m.kind == "cgroup2")


@dataclass
class Node:
    """A node with a client's and a server's pod, and somebody outside of the mesh."""

    client: Netns
    server: Netns
    outside: Netns
    daemon: Daemon

    def program(self, netns: Netns, code: str, *arguments: str) -> PodProgram:
        return PodProgram(netns, self.daemon.places.pods_cgroup(), code, *arguments)

    def maps_of_pods(self) -> list[int]:
        """Cookies of the pods that the kernel knows."""
        maps = Maps.open(self.daemon.places.pin_dir)
        try:
            return [cookie for cookie, _ in maps.pods.items()]
        finally:
            maps.close()

    def mesh(self) -> list[object]:
        return [web(VIP), pod("web-1", self.server.v4, "web"), pod("client", self.client.v4)]


@pytest.fixture
def node(places: NodePlaces) -> Iterator[Node]:
    with (
        tempfile.TemporaryDirectory() as folder,
        netns() as home,
        lan(3) as (client, server, outside),
    ):
        yield Node(client, server, outside, Daemon(places, home, Path(folder)))


async def begun(node: Node, stack: contextlib.AsyncExitStack) -> tuple[AdsServer, ZdsServer]:
    """A control plane, enrolment, and the daemon: killed when the stack is closed."""
    daemon = node.daemon
    async with in_node(daemon.node):
        ads = await stack.enter_async_context(serving(XDS_PORT))
    zds = await stack.enter_async_context(enrolling(daemon))
    await daemon.start()
    stack.push_async_callback(daemon.stop, signal.SIGKILL)
    return ads, zds


async def enroll_both(node: Node, zds: ZdsServer) -> None:
    """Enrol both pods; the first waits for the daemon to be there."""
    await asyncio.wait_for(
        zds.add(AddWorkload("u1", "client", "app", "default"), node.client.fd), 20
    )
    await zds.add(AddWorkload("u2", "web-1", "app", "default"), node.server.fd)


def talking(node: Node, stack: contextlib.AsyncExitStack) -> PodProgram:
    """The client's program; the server's echoes what it says."""
    echo = node.program(node.server, ECHO, node.server.v4, "8080")
    stack.callback(echo.close)
    assert echo.line() == "listening"
    client = node.program(node.client, CLIENT)
    stack.callback(client.close)
    return client


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
        ads, zds = await begun(node, stack)

        # Enrolment doesn't wait for the control plane; readiness does.
        await enroll_both(node, zds)
        status, text = await daemon.get("15021/healthz/ready")
        assert (status, "no complete push" in text) == (503, True)

        client = talking(node, stack)

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
        await until(lambda: has_certificates(daemon, 2), "a certificate for both pods' account")

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


async def has_certificates(daemon: Daemon, pods: int) -> bool:
    """Whether all of so many pods have one, of the account that is theirs."""
    [shown] = (await daemon.dump())["certificates"]
    assert (shown["identity"], shown["pods"]) == (
        "spiffe://cluster.local/ns/app/sa/default",
        pods,
    )
    return bool(shown["state"] == "Available")


async def has_workloads(daemon: Daemon, count: int) -> bool:
    status, dump = await daemon.get("15000/config_dump")
    return status == 200 and len(dump["workloads"]) == count


async def test_policies_on_a_node(node: Node) -> None:
    daemon = node.daemon
    async with contextlib.AsyncExitStack() as stack:
        ads, zds = await begun(node, stack)
        await enroll_both(node, zds)
        client = talking(node, stack)
        stranger = node.program(node.outside, CLIENT)
        stack.callback(stranger.close)

        # Nobody is let in before the control plane has said who it is.
        here = f"connect {node.server.v4} 8080"
        assert client.ask(here) == "ConnectionRefusedError"
        stream = await first_push(ads, *node.mesh())
        await until(daemon.ready, "ready after the first push")
        assert client.ask(here).startswith("connected")
        assert stranger.ask(here).startswith("connected")
        assert (client.ask("hello"), stranger.ask("hello")) == ("hello", "hello")

        # A push closes what it denies, and nothing else; new ones are refused.
        stream.answer(AUTHORIZATION_TYPE, "p1", deny("app/deny"))
        await until(lambda: "denied by policy app/deny" in daemon.log, "closed", 10)
        assert client.ask("hello") in {"ConnectionResetError", "ConnectionAbortedError"}
        assert stranger.ask("hello") == "hello"
        assert client.ask(here) == "ConnectionRefusedError"
        assert stranger.ask(here).startswith("connected")
        dump = await daemon.dump()
        assert list(dump["policies"]) == ["app/deny"]
        assert dump["authorization"]["totals"] == [
            {"policy": "app/deny", "verdict": "DENIED", "closed": False, "count": 1},
            {"policy": "app/deny", "verdict": "DENIED", "closed": True, "count": 1},
        ]

        # A bad version of it changes nothing, and is told.
        await answered(stream, "p1")
        stream.answer(AUTHORIZATION_TYPE, "p2", deny("app/deny", scope=7))
        nack = await answered(stream, "p2")
        assert nack.error_detail.message.endswith("its last good version stays in force")
        assert client.ask(here) == "ConnectionRefusedError"

        # Killed and started again: in force all the while.
        assert await daemon.stop(signal.SIGKILL) == -signal.SIGKILL
        assert client.ask(here) == "ConnectionRefusedError"
        assert stranger.ask(here).startswith("connected")
        await daemon.start()
        stream = await ads.stream()
        await stream.begin()
        assert client.ask(here) == "ConnectionRefusedError"
        stream.push("n1", *node.mesh())
        stream.answer(AUTHORIZATION_TYPE, "p1", deny("app/deny"))
        await until(daemon.ready, "ready again")
        assert client.ask(here) == "ConnectionRefusedError"
        assert stranger.ask("hello") == "hello"

        # A bad policy with no good version refuses everybody, and says so.
        stream.answer(
            AUTHORIZATION_TYPE, "p3", deny("app/bad", action=9), removed=("app/deny",)
        )
        await until(lambda: stranger.ask(here) == "ConnectionRefusedError", "failed closed")
        assert "policy app/bad can't be used: action: 9" in daemon.log
        stream.answer(AUTHORIZATION_TYPE, "p4", removed=("app/bad",))
        await until(lambda: client.ask(here).startswith("connected"), "no policy is left")

        # A policy that is named before it is there changes nothing until it is.
        names = workload(
            uid_of("web-1"),
            name="web-1",
            namespace="app",
            addresses=[ip(node.server.v4)],
            authorization_policies=["app/late"],
        )
        stream.push("n2", names)
        await until(lambda: "not sent yet: policy app/late" in daemon.log, "noticed")
        assert client.ask(here).startswith("connected")
        stream.answer(AUTHORIZATION_TYPE, "p5", deny("app/late", scope=2))
        await until(lambda: client.ask(here) == "ConnectionRefusedError", "it has arrived")


def deny(key: str, **fields: object) -> object:
    """A policy that denies what the client's service account asks for."""
    match = authorization_pb2.Match(
        principals=[authorization_pb2.StringMatch(exact="cluster.local/ns/app/sa/default")]
    )
    rule = authorization_pb2.Rule(clauses=[authorization_pb2.Clause(matches=[match])])
    return policy(key, rules=[rule], **({"scope": 1, "action": 1} | fields))


async def answered(stream: Stream, nonce: str) -> Any:
    """The client's answer to a push of policies."""
    while True:
        request = await stream.request()
        if request.response_nonce == nonce:
            return request


async def test_a_pods_flows_end_with_its_netns(node: Node) -> None:
    daemon = node.daemon
    left = FlowKey(bytes(16), bytes(16), 40000, 80, 0)
    async with contextlib.AsyncExitStack() as stack:
        zds = await stack.enter_async_context(enrolling(node.daemon))
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
            maps.flows.put(left, Flow(1, netns=gone.cookie))
            await zds.remove("u1")
            assert (await daemon.get("15000/debug/tables"))[1]["pods"] == []
            assert maps.flows.get(left) is not None
        await until(lambda: maps.flows.get(left) is None, "the flow is swept")


async def test_metrics_and_access_log_of_a_node(node: Node) -> None:
    """Through all of it: a connection that lasts, its end, and one that leads nowhere."""
    daemon = node.daemon
    async with contextlib.AsyncExitStack() as stack:
        ads, zds = await begun(node, stack)
        stream = await first_push(ads, *node.mesh())
        await enroll_both(node, zds)
        await until(daemon.ready, "ready")
        client = talking(node, stack)
        here = f"{node.server.v4} 8080"
        assert client.ask(f"connect {here}") == f"connected to {here}"
        assert client.ask("hello") == "hello"

        _, text = await daemon.get("15020/metrics")
        for name in (
            "istio_build",
            "istio_xds_message_total",
            "process_open_fds",
            "tandem_connects_total",
            "tandem_map_entries",
            "workload_manager_active_proxy_count",
        ):
            assert f"\n# TYPE {name} " in text

        both = [("source", "-"), ("destination", "-")]
        await until(
            lambda: told(daemon, "istio_tcp_connections_opened_total", dict.fromkeys(both, 1)),
            "opened while it is open",
        )
        assert await told(daemon, "istio_tcp_connections_closed_total", dict.fromkeys(both, 0))
        for name in ("istio_tcp_received_bytes_total", "istio_tcp_sent_bytes_total"):
            await until(
                lambda n=name: told(daemon, n, dict.fromkeys(both, 6)),
                "bytes of a connection that lasts",
            )
        client.close()
        await until(
            lambda: told(daemon, "istio_tcp_connections_closed_total", dict.fromkeys(both, 1)),
            "closed",
        )
        # Counted once, not as an open one and a closed one.
        assert await told(daemon, "istio_tcp_received_bytes_total", dict.fromkeys(both, 6))
        lines = await until(lambda: access_log(daemon, 2), "two lines")
        for line, way in zip(lines, ("outbound", "inbound"), strict=True):
            assert re.fullmatch(
                r"\S+Z\tinfo\taccess\tconnection complete\t"
                rf'src.addr={node.client.v4}:\d+ src.workload="client" src.namespace="app" '
                r'src.identity="spiffe://cluster.local/ns/app/sa/default" '
                r'src.cluster="Kubernetes" '
                rf'dst.addr={node.server.v4}:8080 dst.workload="web-1" '
                r'dst.namespace="app" '
                r'dst.identity="spiffe://cluster.local/ns/app/sa/default" '
                rf'dst.cluster="Kubernetes" direction="{way}" bytes_sent=6 bytes_recv=6 '
                r'duration="\d+ms"',
                line,
            ), line

        # Started again, it knows all of it still: the sums are the kernel's.
        await daemon.stop(signal.SIGKILL)
        await daemon.start()
        stream = await first_push(ads, *node.mesh())
        await until(daemon.ready, "ready again")
        await until(
            lambda: told(daemon, "istio_tcp_received_bytes_total", dict.fromkeys(both, 6)),
            "the same after a restart",
        )

        stream.push("n3", removed=(uid_of("web-1"),))
        caller = node.program(node.client, CLIENT)
        stack.callback(caller.close)
        await until(lambda: connects(caller) == "ConnectionRefusedError", "refused")
        await until(
            lambda: told(
                daemon, "istio_tcp_connections_failed_total", {("source", "CONNECT"): 1}
            ),
            "failed",
        )
        [refused, *_] = await until(lambda: access_log(daemon, 1), "a line")
        assert "\twarn\taccess\tconnection failed\t" in refused
        assert refused.endswith(f'error="no healthy upstream: {VIP}:80"')


async def told(daemon: Daemon, name: str, values: dict[tuple[str, str], float]) -> bool:
    """Whether a scrape has these values, by reporter and response flags."""
    status, text = await daemon.get("15020/stats/prometheus")
    assert status == 200
    found = {
        (s.labels["reporter"], s.labels["response_flags"]): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
        if s.name == name
    }
    return found == values


def access_log(daemon: Daemon, count: int) -> list[str]:
    """The access log, once it has so many lines."""
    lines = [line for line in daemon.log.splitlines() if "\taccess\t" in line]
    return lines if len(lines) >= count else []


async def test_dns_of_a_pod(node: Node) -> None:
    daemon = node.daemon
    daemon.environment = {"DNS_UPSTREAM": "127.0.0.1", "CLUSTER_DOMAIN": "mesh.test"}
    async with contextlib.AsyncExitStack() as stack:
        async with in_node(daemon.node):
            cluster, _ = await stack.enter_async_context(cluster_dns.serving(port=53))
        ads, zds = await begun(node, stack)
        await asyncio.wait_for(
            zds.add(AddWorkload("u1", "client", "app", "default"), node.client.fd), 20
        )
        await first_push(ads, *node.mesh())
        await until(daemon.ready, "ready")
        with node.client.open_socket(kind=socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.1", DNS_PORT))
            wire = query(f"{hostname('web')}.app.svc.mesh.test")
            assert (await over_udp(client, wire)).answer[1][0].to_text() == VIP
            assert (await over_udp(client, query("a.com"))).answer[0][0].to_text() == "9.9.9.9"
            # What has been asked when it is told to stop is answered before it ends.
            cluster.held = asyncio.Event()
            client.send(query("b.com", number=5))
            await until(lambda: len(cluster.asked) == 2, "asked")
            stopping = asyncio.ensure_future(daemon.stop())
            await until(lambda: nobody_answers(node.client), "nothing new is taken")
            assert not stopping.done()
            cluster.held.set()
            assert (await received(client)).id == 5
            assert await stopping == 0


def nobody_answers(pod: Netns) -> bool:
    """Whether the kernel programs would find no listener for a pod's queries."""
    with pod.open_socket(kind=socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", DNS_PORT))
        try:
            client.send(query("web"))
            client.send(query("web"))
        except ConnectionRefusedError:
            return True
        return False


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


async def test_one_node_agent_after_another(node: Node) -> None:
    """The next one starts beside the one that ends; no tunnel is refused meanwhile."""
    daemon = node.daemon
    daemon.environment["TERMINATION_GRACE_PERIOD_SECONDS"] = "65"
    handover = daemon.zds_path.with_name("handover.sock")
    async with contextlib.AsyncExitStack() as stack:
        ads, zds = await begun(node, stack)
        await asyncio.wait_for(
            zds.add(AddWorkload("u1", "web-1", "app", "default"), node.server.fd), 120
        )
        await first_push(ads, *node.mesh())
        await until(daemon.ready, "ready after the first push", 120)
        refusals: list[OSError] = []
        over = threading.Event()
        knocking = threading.Thread(target=knock, args=(node, over, refusals))
        knocking.start()
        try:
            old = daemon.process
            assert old is not None
            old.send_signal(signal.SIGTERM)
            await until(handover.is_socket, "handed over", 60)
            assert (await daemon.get("15000/config_dump"))[0] == 0, "a port is still taken"
            await daemon.start()
            assert await asyncio.wait_for(old.wait(), 120) == 0
            stream = await first_push(ads, *node.mesh())
            await until(daemon.ready, "the successor is ready", 120)
            assert not handover.exists()
        finally:
            over.set()
            knocking.join()
        assert not refusals
        # Nobody follows this one: it waits, and another signal ends that. Meanwhile it
        # hears of what its tunnels may no longer do.
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        await until(handover.is_socket, "handed over", 60)
        stream.answer(AUTHORIZATION_TYPE, "late", deny("app/deny"))
        async with asyncio.timeout(20):
            assert not (await answered(stream, "late")).HasField("error_detail")
        assert await daemon.stop(signal.SIGTERM) == 0


def knock(node: Node, over: threading.Event, refusals: list[OSError]) -> None:
    """Connect to both ends of tunnels again and again."""
    places = [(node.outside, node.server.v4, 15008), (node.server, "127.0.0.1", 15001)]
    while not over.is_set():
        for place, address, port in places:
            with place.open_socket() as opened:
                try:
                    opened.connect((address, port))
                except ConnectionResetError:
                    continue  # it was taken: who isn't redirected to 15001 is reset
                except OSError as error:
                    refusals.append(error)


async def test_a_pod_that_needs_a_port_of_tunnels_is_told(node: Node) -> None:
    async with contextlib.AsyncExitStack() as stack:
        _, zds = await begun(node, stack)
        workload = AddWorkload("u1", "web-1", "app", "default")
        with node.server.listen("0.0.0.0", 15008):
            with pytest.raises(ZdsError, match="port 15008 is taken by a program there"):
                await asyncio.wait_for(zds.add(workload, node.server.fd), 120)
            assert not list(node.maps_of_pods())
        await zds.add(workload, node.server.fd)
