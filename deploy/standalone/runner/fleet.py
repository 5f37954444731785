"""All pods: the control plane's snapshots become running pods."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.errors import NetworkError
from deploy.standalone.runner.node import Node
from deploy.standalone.runner.pod import RETRY, Pod
from deploy.standalone.runner.resolver import Resolver
from deploy.standalone.runner.spec import PodKey, PodSpec, Snapshot
from deploy.standalone.runner.status import PodStatus, StatusReporter
from deploy.standalone.runner.tokens import TokenSource
from deploy.standalone.runner.zone import Zone
from ztunnel_compat.runtime.tasks import Tasks

logger = logging.getLogger(__name__)

#: Before a process is asked to end, the control plane must have withdrawn its
#: endpoint: how long we wait to see that, and how long we then give nodes and
#: waypoints, which are told at the same time as we are.
WITHDRAWN_TIMEOUT = 1.0
PROPAGATION = 0.25
#: The whole mesh ends: nobody is left to be served for a pod's own grace period.
CLOSING_GRACE = 5.0


class Fleet:
    """Brings what runs in step with the newest snapshot."""

    def __init__(
        self,
        config: MeshConfig,
        nodes: Mapping[str, Node],
        resolver: Resolver,
        reporter: StatusReporter,
        tasks: Tasks,
        *,
        tokens: TokenSource,
    ) -> None:
        self.config = config
        self.nodes = nodes
        self.resolver = resolver
        self.reporter = reporter
        self.slots: dict[PodKey, Slot] = {}
        self.snapshot = Snapshot("", "")
        self.moved = asyncio.Condition()
        self.closing = False
        self.tasks = tasks
        self.tokens = tokens

    async def apply(self, snapshot: Snapshot) -> None:
        """Take a snapshot: balancers and DNS first, so that no pod ends before them."""
        if snapshot.settled:
            for node in self.nodes.values():
                await node.balancer.update(snapshot.services)
            self.resolver.zone = Zone(self.config, snapshot.services)
        else:
            snapshot = replace(snapshot, services=self.snapshot.services)
        async with self.moved:
            self.snapshot = snapshot
            self.moved.notify_all()
        wanted = {pod.key: pod for pod in snapshot.pods if self.has_node(pod)}
        for key in {**self.slots, **wanted}:
            self.want(key, wanted.get(key))

    def has_node(self, pod: PodSpec) -> bool:
        """Whether a pod's node is one of ours."""
        if pod.node in self.nodes:
            return True
        logger.error("pod %s/%s is for node %s, which is not here", *pod.key, pod.node)
        return False

    def want(self, key: PodKey, spec: PodSpec | None) -> None:
        """Have a pod run as spec says, or not at all."""
        slot = self.slots.get(key)
        if slot is None:
            slot = self.slots[key] = Slot(self, key)
            slot.task = self.tasks.spawn(slot.run(), f"pod {key[0]}/{key[1]}")
        slot.wanted = spec
        slot.changed.set()

    # ---- asked by pods

    def listed(self, ips: tuple[str, ...]) -> bool:
        """Whether a service of the newest snapshot still leads to one of these addresses."""
        return any(
            endpoint.ready and not set(ips).isdisjoint(endpoint.ips)
            for service in self.snapshot.services
            for endpoint in service.endpoints
        )

    async def drain(self, pod: Pod) -> None:
        """Wait until nobody is sent to a pod any more, as far as can be told."""
        if self.closing:
            return
        try:
            async with asyncio.timeout(WITHDRAWN_TIMEOUT):
                async with self.moved:
                    await self.moved.wait_for(lambda: not self.listed(pod.ips))
                await self.settled()
        except TimeoutError:
            logger.warning("%s is still an endpoint; ending it all the same", pod.title)
        await asyncio.sleep(PROPAGATION)

    async def settled(self) -> None:
        """Wait until every node's balancer has the newest services."""
        for node in self.nodes.values():
            await node.balancer.settled()

    # ---- asked by the mesh

    def unready(self, namespace: str | None) -> list[PodStatus]:
        """The pods of a namespace (None: of all) that are not ready, and not done either."""
        found = []
        for pod in self.snapshot.pods:
            status = self.reporter.current.get(pod.key)
            if status is None or status.uid != pod.uid:
                status = PodStatus(pod.namespace, pod.name, pod.uid, pod.node)
            done = status.ready or status.phase == "Succeeded"
            if namespace in (None, pod.namespace) and not done:
                found.append(status)
        return found

    async def led_to(self, namespace: str | None) -> None:
        """Wait until services lead to all pods that are ready, on every node."""
        async with self.moved:
            await self.moved.wait_for(lambda: self.reached(namespace))
        await self.settled()

    def reached(self, namespace: str | None) -> bool:
        """Whether services lead to every ready pod of a namespace that is behind them."""
        return not any(
            not endpoint.ready
            for service in self.snapshot.services
            if namespace in (None, service.namespace)
            for endpoint in service.endpoints
            if self.is_ready(service.namespace, endpoint.pod)
        )

    def is_ready(self, namespace: str, pod: str) -> bool:
        """Whether a pod reported itself ready."""
        status = self.reporter.current.get((namespace, pod))
        return status is not None and status.ready

    async def close(self) -> None:
        """End all pods, at the same time."""
        self.closing = True
        for key in self.slots:
            self.want(key, None)
        ending = {slot.task for slot in self.slots.values() if slot.task is not None}
        if ending:
            await asyncio.wait(ending)


class Slot:
    """The place of one pod's name: at most one pod is in it at a time."""

    def __init__(self, fleet: Fleet, key: PodKey) -> None:
        self.fleet = fleet
        self.key = key
        self.wanted: PodSpec | None = None
        self.pod: Pod | None = None
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Follow ``wanted`` until nothing is wanted."""
        while True:
            self.changed.clear()
            if self.pod is not None and not self.fits(self.pod):
                await self.end(self.pod)
                self.pod = None
            elif self.wanted is None:
                del self.fleet.slots[self.key]
                return
            elif self.pod is not None:
                self.pod.update(self.wanted)
                await self.pod.tasks.wait(self.changed.wait())
            else:
                await self.begin(self.wanted)

    def fits(self, pod: Pod) -> bool:
        """Whether the pod is the one that is wanted."""
        wanted = self.wanted
        return wanted is not None and wanted.uid == pod.spec.uid

    async def begin(self, spec: PodSpec) -> None:
        """Start a pod, or say why it can't be."""
        try:
            fleet = self.fleet
            node = fleet.nodes[spec.node]
            self.pod = Pod(spec, node, fleet.reporter.report, fleet.tokens)
        except NetworkError as error:
            status = PodStatus(*spec.key, spec.uid, spec.node, message=str(error))
            self.fleet.reporter.report(status)
            await asyncio.sleep(RETRY)
        else:
            self.pod.start()

    async def end(self, pod: Pod) -> None:
        """Stop a pod, leaving nothing of it."""
        grace = pod.spec.grace_period
        if self.fleet.closing:
            grace = min(grace, CLOSING_GRACE)
        await pod.stop(grace, lambda: self.fleet.drain(pod))
        self.fleet.reporter.forget(self.key)
