"""What the kernel knows of the node's enrolled pods, and processes without a netns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bpf.codecs import U64
from bpf.layout import Pod, PodFlag
from daemon import content
from daemon.places import Places
from daemon.scope import Content, Scope, TableName
from daemon.waypoints import Waypoints
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import Workload
from ztunnel_compat.names import name_hash
from ztunnel_compat.state import WorkloadState

#: Where a pod is enrolled: ``pods`` and a netns cookie, or ``members`` and a cgroup id.
Enrolment = tuple[TableName, int]
#: While it isn't known what there is, a pod looks everywhere.
UNKNOWN = (PodFlag.OWN_ADDRESSES | PodFlag.RANGES).value


class Pods:
    """Keeps ``pods`` and ``members`` of the desired content.

    adopted: what an earlier process left in the two maps; waypoints and flags in it
    stay believed until the control plane has said everything once (``doubt``).
    """

    def __init__(
        self,
        state: WorkloadState,
        desired: Content,
        waypoints: Waypoints,
        places: Places,
        adopted: Mapping[TableName, Mapping[bytes, bytes]],
    ) -> None:
        self.state = state
        self.desired = desired
        self.waypoints = waypoints
        self.places = places
        self.adopted: Mapping[TableName, Mapping[bytes, bytes]] | None = {
            table: dict(entries) for table, entries in adopted.items()
        }
        self.uid_of: dict[Enrolment, str] = {}
        self.identity_of: dict[Enrolment, Identity | None] = {}
        self.enrolments_of: dict[str, set[Enrolment]] = {}

    def enroll(
        self, enrolment: Enrolment, uid: str, identity: Identity | None, scope: Scope
    ) -> None:
        """A workload's pod is there from now on."""
        self.dismiss(enrolment, scope)
        self.uid_of[enrolment] = uid
        self.identity_of[enrolment] = identity
        self.enrolments_of.setdefault(uid, set()).add(enrolment)
        self.refresh((enrolment,), scope)

    def dismiss(self, enrolment: Enrolment, scope: Scope) -> None:
        """Nobody is enrolled there any more."""
        table, number = enrolment
        key = U64.pack(number)
        scope.of(table).add(key)
        self.desired.of(table).pop(key, None)
        self.identity_of.pop(enrolment, None)
        uid = self.uid_of.pop(enrolment, None)
        if uid is not None:
            self.enrolments_of[uid].discard(enrolment)
            if not self.enrolments_of[uid]:
                del self.enrolments_of[uid]

    def doubt(self, scope: Scope) -> None:
        """The control plane has said everything: what was adopted counts no more."""
        if self.adopted is not None:
            self.adopted = None
            self.refresh(list(self.uid_of), scope)

    def refresh_workloads(self, uids: Iterable[str], scope: Scope) -> None:
        """Find out again what the kernel should know of these workloads' pods."""
        for uid in uids:
            self.refresh(self.enrolments_of.get(uid, ()), scope)

    def refresh(self, enrolments: Iterable[Enrolment], scope: Scope) -> None:
        """Find out again what the kernel should know of these pods."""
        for enrolment in enrolments:
            table, number = enrolment
            key = U64.pack(number)
            scope.of(table).add(key)
            self.desired.of(table)[key] = self.value(enrolment, key)

    def value(self, enrolment: Enrolment, key: bytes) -> bytes:
        """What the kernel should know of a pod."""
        uid = self.uid_of[enrolment]
        identity = self.identity_of[enrolment]
        if self.adopted is not None:
            known = self.adopted.get(enrolment[0], {}).get(key)
            if known and Pod.unpack(known).workload == name_hash(uid):
                return known
            return content.pod(uid, 0, identity, UNKNOWN)
        workload = self.state.workload(uid)
        if workload is not None:
            identity = workload.identity
        namespace = name_hash(identity.namespace) if identity else 0
        flags = content.pod_flags(
            workload,
            own_addresses=self.places.own_addresses(namespace),
            ranges=self.places.ranges_for_all,
        )
        return content.pod(uid, self.waypoint_behind(workload), identity, flags)

    def waypoint_behind(self, workload: Workload | None) -> int:
        """Hash of the waypoint's service that the workload is an endpoint of, or 0."""
        if workload is None:
            return 0
        keys = [key for key in workload.services if key in self.waypoints]
        return name_hash(min(keys)) if keys else 0
