"""Pods that join and leave the mesh on this node, as ZDS says.

A pod is enrolled when its map entry, its socket lookup and its sysctl are in
place; nothing here waits for the control plane.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from bpf.errors import MapFullError
from daemon.departed import Departed
from daemon.desired import Desired
from daemon.errors import EnrollError
from daemon.pod_netns import PodNetns
from daemon.program import Programmer
from daemon.reconcile import reconcile
from daemon.scope import Scope
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


class Enroller:
    """Handles ZDS: keeps ``enrolled``, by the uid that ZDS has for a pod."""

    def __init__(
        self,
        cluster: str,
        desired: Desired,
        programmer: Programmer,
        netns: PodNetns,
        departed: Departed,
    ) -> None:
        self.cluster = cluster
        self.desired = desired
        self.programmer = programmer
        self.netns = netns
        self.departed = departed
        self.enrolled: dict[str, Enrolled] = {}

    async def add(self, workload: AddWorkload, netns_fd: int) -> str:
        """Enrol a pod, or one again; an error for the Ack, or an empty text."""
        uid = pod_uid(self.cluster, workload.namespace, workload.name)
        before = self.enrolled.get(workload.uid)
        try:
            watched = self.departed.watch.watch(netns_fd)
            cookie = await asyncio.to_thread(self.netns.prepare, netns_fd)
            await self.write_pod(cookie, uid)
        except (EnrollError, OSError) as error:
            return str(error)
        self.enrolled[workload.uid] = Enrolled(uid, workload.service_account, cookie, watched)
        if before is not None and before.cookie != cookie:
            await self.release(before)
        logger.info("%s enrolled, netns cookie %d", uid, cookie)
        return ""

    async def remove(self, uid: str) -> None:
        """Un-enrol a pod by its ZDS uid; its connections go on."""
        pod = self.enrolled.pop(uid, None)
        if pod is not None:
            await self.release(pod)
            logger.info("%s no longer enrolled", pod.uid)

    async def snapshot_sent(self, kept: Iterable[str]) -> None:
        """Un-enrol what ZDS doesn't know: pods that left while nobody listened."""
        known = set(kept)
        for uid in [u for u in self.enrolled if u not in known]:
            await self.remove(uid)
        if known - self.enrolled.keys():
            # One of them may be a pod of an earlier process, kept without its netns.
            logger.warning("ZDS keeps pods that aren't enrolled: nothing adopted is dropped")
            return
        cookies = {pod.cookie for pod in self.enrolled.values()}
        attached = await asyncio.to_thread(self.netns.attached)
        adopted = dict(self.programmer.programmed.pods)
        for cookie in sorted((attached | adopted.keys()) - cookies):
            await self.forget(cookie)
            logger.info("netns cookie %d no longer enrolled: ZDS doesn't know it", cookie)
            if cookie in adopted and cookie not in attached:
                await self.bury(adopted[cookie].workload)

    async def bury(self, source: int) -> None:
        """An adopted pod's netns ended: a live one would have its lookup attached.

        Unless a pod of the same name is enrolled, whose flows can't be told apart.
        """
        if source not in {name_hash(pod.uid) for pod in self.enrolled.values()}:
            await self.departed.bury(source)

    async def release(self, pod: Enrolled) -> None:
        """Take a pod out of the maps and the hooks."""
        if any(other.cookie == pod.cookie for other in self.enrolled.values()):
            return
        await self.forget(pod.cookie)
        await self.departed.leave(pod.watched, name_hash(pod.uid))

    async def forget(self, cookie: int) -> None:
        """Take a netns out of the maps and the hooks."""
        scope = Scope()
        self.desired.dismiss(cookie, scope)
        self.program(scope)
        await asyncio.to_thread(self.netns.release, cookie)

    async def write_pod(self, cookie: int, uid: str) -> None:
        """Make the kernel see a pod; raises EnrollError when there's no room."""
        scope = Scope()
        self.desired.enroll(cookie, uid, scope)
        try:
            self.program(scope)
        except MapFullError as error:
            await self.forget(cookie)
            raise EnrollError(str(error)) from error

    def program(self, scope: Scope) -> None:
        """Bring the pods' map up to date; raises MapFullError."""
        desired = self.desired
        for group in reconcile(
            self.programmer.programmed, desired.pods, desired.addresses, desired.sets, scope
        ):
            self.programmer.apply(group)
