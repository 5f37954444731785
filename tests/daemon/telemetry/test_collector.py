from __future__ import annotations

import asyncio
from dataclasses import replace

from bpf.knobs import Knobs
from bpf.layout import Flow, FlowFlag, FlowKey, Traffic, TrafficKey
from bpf.maps import Maps
from bpf.percpu import MemorySums
from daemon.telemetry.collector import FRESH, PATIENCE, Collector
from daemon.telemetry.labels import points_of_view
from daemon.telemetry.ledger import IDLE_KEY, Account, Ledger
from daemon.telemetry.open_flows import LASTING, SURELY_STALE, OpenFlows
from tests.daemon.telemetry.scene import CLIENT, KEY, WEB, WEB1, names_of, scene
from tests.daemon.telemetry.test_open_flows import COOKIE, HERE, THERE, Sockets, open_socket
from ztunnel_compat.istio_labels import Labels
from ztunnel_compat.runtime.tasks import Tasks


class Node:
    """A collector on maps in memory, with one held pod: the client's."""

    def __init__(self, knobs: Knobs | None = None) -> None:
        self.seconds = 1000.0
        self.ready = asyncio.Event()
        self.ready.set()
        self.maps = Maps.memory(knobs)
        assert isinstance(self.maps.traffic, MemorySums)
        self.sums = self.maps.traffic.entries
        self.names = names_of(scene())
        self.pod = Sockets()
        self.open = OpenFlows(self.maps.flows, lambda: int(self.seconds * 1e9))
        self.open.pods[COOKIE] = self.pod  # type: ignore[assignment]
        self.ledger = Ledger(lambda key: points_of_view(key, self.names, {CLIENT, WEB1}))
        self.collections: list[float] = []
        self.collector = Collector(
            self.maps.traffic,
            self.ledger,
            self.names,
            self.open,
            ready=self.ready,
            clock=lambda: self.seconds,
            collected=self.collections.append,
        )

    def flow(self, port: int, age: int) -> None:
        started = int(self.seconds * 1e9) - age
        flow = Flow(
            source=CLIENT,
            target=WEB,
            destination=WEB1,
            flags=FlowFlag.SERVICE,
            started=started,
            established=started,
            netns=COOKIE,
        )
        self.maps.flows.put(FlowKey(HERE, THERE, port, 80), flow)

    def source(self) -> Account:
        labels: Labels | None = self.ledger.labels_of(KEY)[0]
        assert labels is not None
        return self.ledger.accounts[labels]


async def test_sums_and_open_connections() -> None:
    node = Node()
    node.sums[KEY] = Traffic(opened=3, closed=2, sent=10, received=20)
    node.flow(1, LASTING + 1)
    node.pod.found = [open_socket(1, acked=101, received=50)]
    await node.collector.collect()
    assert node.source().show() == (110, 70)
    # It closes: its bytes are counted once.
    node.maps.flows.delete(FlowKey(HERE, THERE, 1, 80))
    node.sums[KEY] = Traffic(opened=3, closed=3, sent=110, received=70)
    node.pod.found = []
    await node.collector.collect()
    assert node.source().show() == (110, 70)
    assert node.collections == [1000.0, 1000.0]


async def test_flows_without_a_socket_are_swept() -> None:
    node = Node()
    node.flow(1, SURELY_STALE + 1)
    node.flow(2, SURELY_STALE + 1)
    node.pod.found = [open_socket(2)]
    await node.collector.collect()
    assert [key.source_port for key, _ in node.maps.flows.items()] == [2]


async def test_idle_keys_are_folded_when_the_map_is_half_full() -> None:
    node = Node(replace(Knobs(), traffic=4))
    keys = [replace(KEY, target=number) for number in range(3)]
    for key in keys:
        node.sums[key] = Traffic(opened=1, closed=1, sent=10)
    node.sums[keys[2]] = Traffic(opened=1, closed=0)
    await node.collector.collect()
    assert set(node.sums) == {*keys, TrafficKey()}
    node.seconds += IDLE_KEY + 1
    await node.collector.collect()
    assert set(node.sums) == {keys[2], TrafficKey()}
    node.sums[keys[0]] = Traffic(opened=1, closed=1, sent=5)
    await node.collector.collect()
    assert sum(a.opened for a in node.ledger.accounts.values()) == 2 * 4
    assert sum(a.sent for a in node.ledger.accounts.values()) == 2 * 25


async def test_scrapes_close_together_collect_once() -> None:
    node = Node()
    await node.collector.fresh()
    await node.collector.fresh()
    assert len(node.collections) == 1
    node.seconds += FRESH + 0.1
    await node.collector.fresh()
    assert len(node.collections) == 2


async def test_it_runs_by_itself_and_when_it_is_wanted() -> None:
    node = Node()
    async with Tasks() as tasks, asyncio.timeout(10):
        tasks.spawn(node.collector.run(), "metrics")
        while not node.collections:
            await asyncio.sleep(0)
        assert TrafficKey() in node.sums
        node.collector.wanted.set()
        while len(node.collections) < 2:
            await asyncio.sleep(0)


async def test_nothing_is_collected_before_names_are_known() -> None:
    node = Node()
    node.ready.clear()
    async with Tasks() as tasks, asyncio.timeout(10):
        tasks.spawn(node.collector.run(), "metrics")
        await node.collector.fresh()
        await asyncio.sleep(0)
        assert node.collections == []
        node.ready.set()
        while not node.collections:
            await asyncio.sleep(0)


async def test_sums_wait_for_the_names_of_new_pods() -> None:
    """A pod's first connections may be over before it is pushed; not for ever."""
    node = Node()
    new = replace(KEY, source=99)
    node.sums[new] = Traffic(opened=1, closed=1)
    await node.collector.collect()
    assert node.ledger.accounts == {}
    node.seconds += PATIENCE + 1
    await node.collector.collect()
    assert [a.opened for a in node.ledger.accounts.values()] == [1, 1]
    # Once counted, it is counted at once.
    node.sums[new] = Traffic(opened=2, closed=2)
    await node.collector.collect()
    assert [a.opened for a in node.ledger.accounts.values()] == [2, 2]
