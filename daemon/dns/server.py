"""DNS for all enrolled pods of the node."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Protocol

import dns.rcode

from bpf.errors import BpfError
from daemon.dns.answers import Asker
from daemon.dns.endpoint import Endpoint
from daemon.dns.messages import MAX_TCP, refusal
from daemon.dns.metrics import Bound, DnsMetrics, Labels
from daemon.dns.orphans import close_orphans
from daemon.dns.resolver import Forward, Local, Refuse, Resolver
from daemon.dns.sockets import open_sockets
from daemon.dns.upstream import Upstream, rcode
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.state import Changes, WorkloadState

logger = logging.getLogger(__name__)

#: Seconds that a name nobody knows may wait for the first push, from our start on:
#: after a restart the mesh is there in a moment, and NXDOMAIN would be believed.
SETTLING: Final = 3.0
#: Seconds for what is in flight when we end: as long as the upstream may take.
DRAIN: Final = 3.5


@dataclass(frozen=True, slots=True)
class Limits:
    """Queries that may wait for the upstream, each with a socket of its own."""

    of_one_pod: int = 128
    of_all: int = 512


class PodDns(Protocol):
    """DNS as enrolment knows it."""

    def open(self, cookie: int, netns_fd: int, uid: str, namespace: str) -> None:
        """Serve a pod by its netns, if that can be done; uid: its workload's xDS name."""
        ...

    def close(self, cookie: int) -> None:
        """Serve it no longer; harmless for who isn't served."""
        ...


class DnsServer:
    """Serves pods from ``open`` to ``close``; without an upstream, none.

    ready: set once the kernel has what the state says; before that, the upstream
    answers, since a virtual address that leads nowhere yet is worse than none.
    """

    def __init__(
        self,
        *,
        state: WorkloadState,
        network: str,
        resolver: Resolver,
        upstream: Upstream,
        tasks: Tasks,
        ready: asyncio.Event,
        limits: Limits | None = None,
    ) -> None:
        self.state = state
        self.network = network
        self.resolver = resolver
        self.upstream = upstream
        self.tasks = tasks
        self.ready = ready
        self.limits = limits or Limits()
        self.metrics = DnsMetrics()
        self.pods: dict[int, DnsPod] = {}
        self.waiting = 0
        self.closing = False
        self.settled_at = time.monotonic() + SETTLING

    def on_change(self, changes: Changes) -> None:
        """The mesh changed."""
        self.resolver.changed(changes)

    async def run(self) -> None:
        """Answer from the mesh as soon as it is ready."""
        await self.ready.wait()
        self.resolver.begin()

    def open(self, cookie: int, netns_fd: int, uid: str, namespace: str) -> None:
        """Serve a pod by its netns; uid: its workload's xDS name.

        Where that can't be done, the pod goes on asking the cluster DNS.
        """
        if self.closing or not self.upstream.servers:
            return
        pod = self.pods.get(cookie)
        if pod is not None:
            pod.uid, pod.namespace = uid, namespace
            return
        try:
            orphans = close_orphans(netns_fd)
            sockets = open_sockets(netns_fd)
        except (OSError, BpfError) as error:
            logger.warning("%s has no DNS of the mesh: %s", uid, error)
            return
        if orphans:
            logger.info("%d DNS queries of %s were lost with a predecessor", orphans, uid)
        pod = self.pods[cookie] = DnsPod(self, uid, namespace)
        pod.endpoint = Endpoint(pod, sockets, self.tasks)
        pod.endpoint.start()

    def close(self, cookie: int) -> None:
        """Serve a pod no longer, once what it has asked is answered."""
        pod = self.pods.pop(cookie, None)
        if pod is not None:
            self.tasks.spawn(pod.endpoint.stop(DRAIN), f"end of DNS for {pod.uid}")

    async def drain(self) -> None:
        """Serve no pod any longer; returns when what they have asked is answered."""
        self.closing = True
        pods = list(self.pods.values())
        self.pods.clear()
        await asyncio.gather(*(pod.endpoint.stop(DRAIN) for pod in pods))

    def refuse(self, bound: Bound, uid: str) -> None:
        """Count what wasn't done for a bound; a line for the 1st, 2nd, 4th …"""
        self.metrics.refused[bound] += 1
        count = self.metrics.refused[bound]
        if count & (count - 1) == 0:
            logger.warning("DNS refused %d for %s, now of %s", count, bound.value, uid)


class DnsPod:
    """One pod: who asks, and how many of its queries wait for the upstream."""

    endpoint: Endpoint

    def __init__(self, server: DnsServer, uid: str, namespace: str) -> None:
        self.server = server
        self.uid = uid
        self.namespace = namespace
        self.waiting = 0

    def refuse(self, bound: Bound) -> None:
        """Count what wasn't done for a bound."""
        self.server.refuse(bound, self.uid)

    def respond(self, wire: bytes, *, tcp: bool) -> bytes | Awaitable[bytes | None] | None:
        """The reply to a message, at once or later; None: no reply."""
        server = self.server
        workload = server.state.workload(self.uid)
        if workload is None:
            asker = Asker(self.namespace, server.network)
        else:
            asker = Asker(workload.namespace, workload.network)
        plan = server.resolver.plan(wire, asker)
        if isinstance(plan, Refuse):
            return plan.reply
        labels = Labels(
            plan.kind,
            "tcp" if tcp else "udp",
            workload.canonical_name or "unknown" if workload else "unknown",
            workload.canonical_revision or "unknown" if workload else "unknown",
        )
        if isinstance(plan, Local):
            server.metrics.requests[labels] += 1
            return local(plan, wire, tcp=tcp)
        if self.waiting >= server.limits.of_one_pod:
            self.refuse(Bound.POD_QUERIES)
            return None
        if server.waiting >= server.limits.of_all:
            self.refuse(Bound.QUERIES)
            return None
        server.metrics.requests[labels] += 1
        self.waiting += 1
        server.waiting += 1
        return self.forward(plan, wire, asker, labels, tcp=tcp)

    async def forward(
        self, plan: Forward, wire: bytes, asker: Asker, labels: Labels, *, tcp: bool
    ) -> bytes:
        """What the upstream says; SERVFAIL when it says nothing."""
        server = self.server
        try:
            started = time.monotonic()
            reply = await server.upstream.ask(wire, plan.query.question, tcp=tcp)
            seconds = time.monotonic() - started
            server.metrics.forwarded(labels, seconds, failed=reply is None)
            if (reply is None or rcode(reply) == dns.rcode.NXDOMAIN) and await self.learns():
                again = server.resolver.plan(wire, asker)
                if isinstance(again, Local):
                    return local(again, wire, tcp=tcp)
            return reply or refusal(wire, dns.rcode.SERVFAIL, plan.query)
        finally:
            self.waiting -= 1
            server.waiting -= 1

    async def learns(self) -> bool:
        """Wait for the mesh while it is about to come; whether it came."""
        server = self.server
        if server.resolver.answering:
            return False
        try:
            async with asyncio.timeout(max(0.0, server.settled_at - time.monotonic())):
                await server.ready.wait()
        except TimeoutError:
            return False
        server.resolver.begin()
        return True


def local(plan: Local, wire: bytes, *, tcp: bool) -> bytes:
    """An answer of our own; several addresses in a random order, clients take the first."""
    limit = MAX_TCP if tcp else plan.limit
    return plan.answer.to_wire(wire[:2], limit, random.shuffle)
