from __future__ import annotations

import asyncio

from bpf.layout import Counter, Traffic
from bpf.maps import Maps
from bpf.percpu import MemorySums
from daemon.telemetry import families
from daemon.telemetry.telemetry import Telemetry
from tests.daemon.meshes import key_of
from tests.daemon.telemetry.scene import CLIENT, KEY, WEB1, scene
from tests.support.netns import netns
from ztunnel_compat.state import Changes


class Node:
    """Telemetry on maps in memory."""

    def __init__(self, *adopted: int) -> None:
        ready = asyncio.Event()
        ready.set()
        self.maps = Maps.memory()
        self.telemetry = Telemetry(self.maps, scene(), 1000, ready, adopted)
        self.telemetry.names.on_change(Changes(frozenset(), frozenset({key_of("web")})))
        assert isinstance(self.maps.traffic, MemorySums)
        self.sums = self.maps.traffic.entries

    async def scrape(self) -> dict[tuple[str, ...], float]:
        """By name, and the labels that tell series of this scene apart."""
        self.telemetry.collector.began = None
        render = await self.telemetry.source()
        apart = ("reporter", "response_flags", "connection_security_policy", "map", "policy")
        return {
            (s.name, *(s.labels[label] for label in apart if label in s.labels)): s.value
            for metric in render()
            for s in metric.samples
        }


async def test_both_reporters_tell_of_one_record() -> None:
    node = Node()
    with netns() as here:
        node.telemetry.joined(CLIENT, 1, here.fd)
        node.telemetry.joined(WEB1, 2, here.fd)
        node.telemetry.joined(WEB1, 2, here.fd)
    node.sums[KEY] = Traffic(opened=2, closed=1, failed=3, denied=4, sent=5, received=6)
    told = await node.scrape()
    for reporter in ("source", "destination"):
        way = (reporter, "-", "kernel_verified")
        assert told["istio_tcp_connections_opened_total", *way] == 2
        assert told["istio_tcp_connections_closed_total", *way] == 1
        assert told["istio_tcp_received_bytes_total", *way] == 5
        assert told["istio_tcp_sent_bytes_total", *way] == 6
    failed = "istio_tcp_connections_failed_total"
    assert told[failed, "source", "CONNECT", "kernel_verified"] == 3
    assert told[failed, "destination", "DENY", "kernel_verified"] == 4
    assert told["workload_manager_active_proxy_count",] == 2
    assert told["workload_manager_proxies_started_total",] == 2
    node.telemetry.close()


async def test_a_pod_that_left_is_local_until_its_last_sums_are_in() -> None:
    node = Node()
    telemetry = node.telemetry
    with netns() as here:
        telemetry.joined(CLIENT, 1, here.fd)
        telemetry.joined(WEB1, 2, here.fd)
    await telemetry.parted(WEB1, 2, namesake=False)
    assert telemetry.collector.wanted.is_set()
    node.sums[KEY] = Traffic(opened=1, closed=1)
    told = await node.scrape()
    opened = "istio_tcp_connections_opened_total"
    assert told[opened, "destination", "-", "kernel_verified"] == 1
    assert told["workload_manager_proxies_stopped_total",] == 1
    assert telemetry.local == {CLIENT}
    # Another of that name is elsewhere now: its traffic isn't ours to vouch for.
    node.sums[KEY] = Traffic(opened=2, closed=2)
    told = await node.scrape()
    assert told[opened, "destination", "-", "kernel_verified"] == 1
    assert told[opened, "source", "-", "unknown"] == 1
    telemetry.close()


async def test_a_namesake_stays_local() -> None:
    node = Node()
    with netns() as here:
        node.telemetry.joined(WEB1, 1, here.fd)
        node.telemetry.joined(WEB1, 2, here.fd)
    await node.telemetry.parted(WEB1, 1, namesake=True)
    await node.scrape()
    assert node.telemetry.local == {WEB1}
    assert set(node.telemetry.open_flows.pods) == {2}
    node.telemetry.close()


async def test_what_others_count() -> None:
    node = Node()
    node.telemetry.others.denied = lambda: {"app/deny": 3}
    node.telemetry.others.dry_run = lambda: {"app/try": 4}
    node.telemetry.others.maps = lambda: [("addresses", 5, 10, 1)]
    node.telemetry.others.families.append(lambda: families.build("ztunnel", "1"))
    told = await node.scrape()
    assert told["tandem_policy_denied_total", "app/deny"] == 3
    assert told["tandem_policy_dry_run_total", "app/try"] == 4
    assert told["tandem_map_entries", "addresses"] == 5
    assert told["tandem_map_max_entries", "flows"] == node.maps.flows.max_entries
    assert told["istio_build",] == 1
    assert Counter.EVENT_LOST in node.maps.counters()


async def test_a_pods_policy_is_asked_for_when_it_is_needed() -> None:
    """Authorization puts its resolver in after the log was made."""
    node = Node()
    node.telemetry.others.policy = lambda chunk, rule: f"app/p{chunk}.{rule}"
    assert node.telemetry.log.lines.policy(1, 2) == "app/p1.2"


async def test_adopted_pods_are_local_from_the_beginning() -> None:
    node = Node(CLIENT, WEB1)
    node.sums[KEY] = Traffic(opened=1)
    told = await node.scrape()
    opened = "istio_tcp_connections_opened_total"
    assert told[opened, "destination", "-", "kernel_verified"] == 1
