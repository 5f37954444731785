"""Metrics and access log of one node, put together for the composition root."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import Metric

from bpf.layout import Counter, TrafficKey
from bpf.maps import Maps
from daemon.telemetry import families
from daemon.telemetry.access_log import Lines
from daemon.telemetry.collector import Collector
from daemon.telemetry.labels import points_of_view
from daemon.telemetry.ledger import Ledger
from daemon.telemetry.log_task import LogTask
from daemon.telemetry.names import Names
from daemon.telemetry.open_flows import OpenFlows
from daemon.telemetry.tunnels import Tunnels
from ztunnel_compat.istio_labels import Labels
from ztunnel_compat.runtime.metrics import Families
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.state import WorkloadState

#: A map's name, entries, most entries, and how often it was full.
Row = tuple[str, int, int, int]


@dataclass
class Others:
    """What other parts of the agent count; each part puts its own in.

    policy: the policy that decided, by chunk and rule (see access_log.Resolver);
    denied, dry_run: connections by policy, ``namespace/name``.
    """

    policy: Callable[[int, int], str] = lambda _chunk, _rule: ""
    denied: Callable[[], Mapping[str, int]] = dict
    dry_run: Callable[[], Mapping[str, int]] = dict
    maps: Callable[[], Iterable[Row]] = tuple
    families: list[Callable[[], Iterable[Metric]]] = field(default_factory=list)


class Telemetry:
    """Everything of this package; follows who is enrolled.

    ready: set when the names of the mesh are known; adopted: hashes of the uids of
    pods that an earlier process enrolled. A pod that left stays local until its
    last sums are in: they come from connections that ended with it.
    """

    def __init__(
        self,
        maps: Maps,
        state: WorkloadState,
        log_rate: int,
        ready: asyncio.Event,
        adopted: Iterable[int] = (),
    ) -> None:
        self.maps = maps
        self.others = Others()
        self.names = Names(state)
        self.local: set[int] = set(adopted)
        self.left: dict[int, float] = {}
        self.started = self.stopped = 0
        self.open_flows = OpenFlows(maps.flows)
        self.ledger = Ledger(self.labels_of)
        self.collector = Collector(
            maps.traffic,
            self.ledger,
            self.names,
            self.open_flows,
            ready=ready,
            collected=self.forget_those_who_left,
        )
        lines = Lines(self.names, self.local, self.policy)
        self.log = LogTask(maps.events, maps.limits, lines, log_rate, ready=ready)
        self.tunnels = Tunnels(self.ledger, self.log, self.collector.clock)

    def spawn(self, tasks: Tasks) -> None:
        """Begin."""
        tasks.spawn(self.collector.run(), "metrics")
        tasks.spawn(self.log.run(), "access log")

    def close(self) -> None:
        """Let pods' network namespaces go."""
        self.open_flows.close()

    def joined(self, workload: int, cookie: int, netns_fd: int) -> None:
        """A pod was enrolled, or one again; workload: hash of its uid."""
        self.started += cookie not in self.open_flows.pods
        self.local.add(workload)
        self.left.pop(workload, None)
        self.open_flows.hold(cookie, netns_fd)

    async def parted(self, workload: int, cookie: int, *, namesake: bool) -> None:
        """A pod left; namesake: another of this uid is enrolled."""
        self.stopped += 1
        await asyncio.to_thread(self.open_flows.drop, cookie)
        if not namesake:
            self.left[workload] = self.collector.clock()
            self.collector.wanted.set()

    def forget_those_who_left(self, began: float) -> None:
        """A collection that began at this moment is done."""
        for number, moment in list(self.left.items()):
            if moment < began:
                del self.left[number]
                self.local.discard(number)

    def policy(self, chunk: int, rule: int) -> str:
        """The policy that decided, by who knows of policies."""
        return self.others.policy(chunk, rule)

    def labels_of(self, key: TrafficKey) -> tuple[Labels | None, Labels | None]:
        """Both ends' points of view, as of now."""
        return points_of_view(key, self.names, self.local)

    async def source(self) -> Families:
        """For the metrics server: collect, and hand over what a thread may read."""
        await self.collector.fresh()
        self.tunnels.collect()
        accounts = dict(self.ledger.accounts)
        rows = [*self.rows(), *self.others.maps()]
        active = len(self.local) - len(self.left)
        suppressed = self.log.suppressed()
        denied, dry_run = dict(self.others.denied()), dict(self.others.dry_run())

        def render() -> Iterable[Metric]:
            yield from families.traffic(accounts)
            yield from families.kernel(self.maps.counters())
            yield from families.maps(rows)
            yield from families.enrolment(active, self.started, self.stopped)
            yield from families.counted(
                "tandem_access_log_suppressed", "lines not written", "class", suppressed
            )
            yield from families.counted(
                "tandem_policy_denied", "connections denied", "policy", denied
            )
            yield from families.counted(
                "tandem_policy_dry_run", "connections that would be", "policy", dry_run
            )
            for other in self.others.families:
                yield from other()

        return render

    def rows(self) -> Iterable[Row]:
        """How full the maps are that the kernel itself fills."""
        counters = self.maps.counters()
        flows, traffic = self.maps.flows, self.maps.traffic
        yield (
            flows.name,
            self.collector.found.flows,
            flows.max_entries,
            counters[Counter.FLOW_TABLE_FULL],
        )
        yield (
            traffic.name,
            len(self.ledger.last),
            traffic.max_entries,
            counters[Counter.TRAFFIC_FULL],
        )
