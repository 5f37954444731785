"""Pods that join and leave the mesh on this node, as ZDS says.

A pod is enrolled when its map entry, its socket lookup, its sysctl, its DNS and the
ends of its tunnels are in place; nothing here waits for the control plane.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from bpf.codecs import U64
from bpf.errors import MapFullError
from bpf.layout import Pod
from daemon.departed import Departed
from daemon.desired import Desired
from daemon.dns.server import PodDns
from daemon.errors import EnrollError
from daemon.pod_netns import PodNetns
from daemon.policies.identities import Account
from daemon.policies.keeper import Keeper
from daemon.program import Programmer
from daemon.reconcile import reconcile
from daemon.scope import Scope
from daemon.tunnel.server import PodTunnels
from ztunnel_compat.identity import Identity
from ztunnel_compat.names import name_hash, pod_uid
from ztunnel_compat.zds import AddWorkload

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A pod in the mesh; uid: the workload's xDS name; watched: its netns' id."""

    uid: str
    service_account: str
    cookie: int
    watched: int


class Follower(Protocol):
    """Who wants to know of each pod that joins and leaves."""

    def joined(self, workload: int, cookie: int, netns_fd: int) -> None:
        """A pod was enrolled, or one again; the descriptor is open for this call."""
        ...

    async def parted(self, workload: int, cookie: int, *, namesake: bool) -> None:
        """A pod left, one of an earlier process perhaps.

        workload: hash of its uid; namesake: another of it is enrolled.
        """
        ...


class Enroller:
    """Handles ZDS: keeps ``enrolled``, by the uid that ZDS has for a pod.

    told: set once ZDS has told of every pod there is.
    """

    def __init__(
        self,
        cluster: str,
        desired: Desired,
        programmer: Programmer,
        netns: PodNetns,
        departed: Departed,
        *,
        keeper: Keeper,
        dns: PodDns,
        tunnels: PodTunnels,
        trust_domain: str = "cluster.local",
    ) -> None:
        self.cluster = cluster
        self.desired = desired
        self.programmer = programmer
        self.netns = netns
        self.departed = departed
        self.dns = dns
        self.tunnels = tunnels
        self.trust_domain = trust_domain
        self.keeper = keeper
        self.enrolled: dict[str, Enrolled] = {}
        self.told = asyncio.Event()
        self.followers: list[Follower] = []

    async def add(self, workload: AddWorkload, netns_fd: int) -> str:
        """Enrol a pod, or one again; an error for the Ack, or an empty text."""
        uid = pod_uid(self.cluster, workload.namespace, workload.name)
        before = self.enrolled.get(workload.uid)
        account = Account(workload.namespace, workload.service_account)
        try:
            watched = self.departed.watch.watch(netns_fd)
            # Its guards stand before it is guarded, and all policies know who it is
            # before it can connect.
            await self.keeper.enroll(workload.uid, uid, account, netns_fd)
            cookie = await asyncio.to_thread(self.netns.prepare, netns_fd)
            await self.listen(cookie, netns_fd, uid, account)
            await self.write_pod(cookie, uid, self.identity(workload))
            self.dns.open(cookie, netns_fd, uid, workload.namespace)
        except (EnrollError, OSError) as error:
            if before is None:
                await self.keeper.dismiss(workload.uid)
            return str(error)
        self.enrolled[workload.uid] = Enrolled(uid, workload.service_account, cookie, watched)
        for follower in self.followers:
            follower.joined(name_hash(uid), cookie, netns_fd)
        if before is not None and before.cookie != cookie:
            await self.release(before)
        logger.info("%s enrolled, netns cookie %d", uid, cookie)
        return ""

    async def remove(self, uid: str) -> None:
        """Un-enrol a pod by its ZDS uid; its connections go on."""
        pod = self.enrolled.pop(uid, None)
        if pod is not None:
            await self.release(pod)
            await self.keeper.dismiss(uid)
            logger.info("%s no longer enrolled", pod.uid)

    async def snapshot_sent(self, kept: Iterable[str]) -> None:
        """Un-enrol what ZDS doesn't know: pods that left while nobody listened."""
        self.told.set()
        self.tunnels.told()
        known = set(kept)
        for uid in [u for u in self.enrolled if u not in known]:
            await self.remove(uid)
        if known - self.enrolled.keys():
            # One of them may be a pod of an earlier process, kept without its netns.
            logger.warning("ZDS keeps pods that aren't enrolled: nothing adopted is dropped")
            return
        cookies = {pod.cookie for pod in self.enrolled.values()}
        attached = await asyncio.to_thread(self.netns.attached)
        adopted = {
            U64.unpack(key): Pod.unpack(value)
            for key, value in self.programmer.programmed.pods.items()
        }
        for cookie in sorted((attached | adopted.keys()) - cookies):
            await self.forget(cookie)
            if cookie in adopted:
                await self.tell(adopted[cookie].workload, cookie)
            logger.info("netns cookie %d no longer enrolled: ZDS doesn't know it", cookie)
            if cookie in adopted and cookie not in attached:
                # Its netns has ended: a live one would have its lookup attached.
                await self.departed.bury(cookie)
        await self.keeper.sweep()

    async def release(self, pod: Enrolled) -> None:
        """Take a pod out of the maps and the hooks."""
        if any(other.cookie == pod.cookie for other in self.enrolled.values()):
            return
        await self.forget(pod.cookie)
        await self.tell(name_hash(pod.uid), pod.cookie)
        await self.departed.leave(pod.watched, pod.cookie)

    async def tell(self, workload: int, cookie: int) -> None:
        """Let followers know that a pod left."""
        namesake = any(name_hash(pod.uid) == workload for pod in self.enrolled.values())
        for follower in self.followers:
            await follower.parted(workload, cookie, namesake=namesake)

    async def forget(self, cookie: int) -> None:
        """Take a netns out of the maps and the hooks."""
        self.dns.close(cookie)
        scope = Scope()
        self.desired.dismiss(cookie, scope)
        self.program(scope)
        # The kernel sends it nothing any more.
        self.tunnels.close(cookie)
        await asyncio.to_thread(self.netns.release, cookie)

    async def listen(self, cookie: int, netns_fd: int, uid: str, account: Account) -> None:
        """Be there before the kernel sends connections; raises EnrollError, OSError."""
        try:
            self.tunnels.open(cookie, netns_fd, uid, account)
        except BaseException:
            if all(pod.cookie != cookie for pod in self.enrolled.values()):
                await self.forget(cookie)
            raise

    async def write_pod(self, cookie: int, uid: str, identity: Identity) -> None:
        """Make the kernel see a pod; raises EnrollError when there's no room."""
        scope = Scope()
        self.desired.enroll(cookie, uid, scope, identity)
        try:
            self.program(scope)
        except MapFullError as error:
            await self.forget(cookie)
            raise EnrollError(str(error)) from error

    def identity(self, workload: AddWorkload) -> Identity:
        """A pod's identity as ZDS knows it, until xDS knows its trust domain."""
        return Identity(self.trust_domain, workload.namespace, workload.service_account)

    def program(self, scope: Scope) -> None:
        """Bring the pods' map up to date; raises MapFullError."""
        for group in reconcile(self.programmer.programmed, self.desired.content, scope):
            self.programmer.apply(group)
