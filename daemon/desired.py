"""The maps as they should be, kept up to date by what changed.

What one resource means is in ``content`` and ``sets``; what follows from several
in ``places`` (which of an address's claimants wins), ``waypoints`` (who is one),
``pods`` (who stands behind one) and ``locality`` (where the node is). Here are the
indexes of who brought in what.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace

from daemon import content
from daemon.locality import NOWHERE, Localities, Vantage, is_balanced
from daemon.places import Places
from daemon.pods import Pods
from daemon.scope import Content, Scope, TableName
from daemon.sets import (
    FAMILY_OF,
    Sets,
    identity_sets,
    left_out,
    service_sets,
    untunnelled,
    usable,
)
from daemon.waypoints import Reference, Waypoints, reference_of
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import Range, Service, Workload
from ztunnel_compat.state import WorkloadState


@dataclass(frozen=True, slots=True)
class Owned:
    """What a service brought in when it was last looked at."""

    service: Service | None = None
    addresses: tuple[bytes, ...] = ()
    ranges: tuple[Range, ...] = ()
    ports: tuple[bytes, ...] = ()
    problems: tuple[str, ...] = ()


NOTHING = Owned()


class Desired:
    """The content that the maps should have.

    ``service_changed`` and ``workload_changed`` take in one resource each, and
    ``settle`` must follow before the content is read. ``enroll`` and ``dismiss``
    are complete by themselves. All of them widen a scope.

    adopted: enrolled pods as an earlier process left them; see ``Pods``.
    """

    def __init__(
        self,
        state: WorkloadState,
        vantage: Vantage,
        adopted: Mapping[TableName, Mapping[bytes, bytes]],
    ) -> None:
        self.content = Content()
        self.state = state
        self.vantage = vantage
        self.localities = Localities()
        self.balanced: set[str] = set()
        self.waypoints = Waypoints(state.resolve_waypoint)
        self.places = Places(state, vantage, self.content, self.waypoint_of)
        self.pods = Pods(state, self.content, self.waypoints, self.places, adopted)
        self.services: dict[str, Owned] = {}
        self.addresses_of: dict[str, tuple[bytes, ...]] = {}
        self.references: dict[str, Reference] = {}
        self.new_problems: list[tuple[str, str]] = []

    def problems(self) -> dict[str, tuple[str, ...]]:
        """What was left out: a service's key -> texts."""
        return {key: owned.problems for key, owned in self.services.items() if owned.problems}

    def take_new_problems(self) -> list[tuple[str, str]]:
        """Services and what was left out of them, since this was last asked."""
        new, self.new_problems = self.new_problems, []
        return new

    def waypoint_of(self, resource: Service | Workload) -> str | None:
        """The key of the waypoint that a resource names, if it names one."""
        return self.waypoints.key(reference_of(resource))

    def service_changed(self, key: str, scope: Scope) -> None:
        """Take in a service that is new, changed or gone, or has other endpoints."""
        for _ in self.service_steps(key, scope):
            pass

    def service_steps(self, key: str, scope: Scope) -> Iterator[None]:
        """``service_changed`` in small steps."""
        before = self.services.get(key, NOTHING)
        owned, sets = NOTHING, dict[bytes, bytes]()
        service = self.state.service(key)
        if service is not None:
            owned, sets = yield from self.owned(service)
        for gone in set(before.ports).difference(sets):
            del self.content.ports[gone]
        self.content.ports |= sets
        scope.ports.update(before.ports, sets)
        if owned is NOTHING:
            self.services.pop(key, None)
        else:
            self.services[key] = owned
        if owned.service is not before.service:
            self.service_replaced(key, before, owned)
        self.new_problems += [(key, p) for p in owned.problems if p not in before.problems]

    def owned(self, service: Service) -> Generator[None, None, tuple[Owned, Sets]]:
        """What a service brings in now, and its sets."""
        vantage = self.vantage
        addresses, ranges = content.virtual_addresses(service, vantage.network)
        endpoints = list(self.state.endpoints(service.key).values())
        chosen = usable(service, endpoints, vantage.network)
        yield
        problems = left_out(endpoints, vantage.network)
        families = {FAMILY_OF[len(packed)] for packed in (*addresses, *(r[0] for r in ranges))}
        sets = yield from service_sets(service, families, chosen, vantage)
        if service.key in self.waypoints:
            sets |= yield from identity_sets(service, chosen, vantage)
            problems += untunnelled(chosen)
        return (
            Owned(service, tuple(addresses), tuple(ranges), tuple(sets), tuple(problems)),
            sets,
        )

    def service_replaced(self, key: str, before: Owned, after: Owned) -> None:
        """The service itself changed, not its endpoints alone."""
        self.places.touched.update(before.addresses, after.addresses)
        self.places.replace_ranges(before.ranges, after.ranges)
        if after.service and is_balanced(after.service.load_balancing):
            self.balanced.add(key)
        else:
            self.balanced.discard(key)
        if after.service:
            self.waypoints.add(reference_of(after.service))
        if before.service:
            self.waypoints.drop(reference_of(before.service))

    def workload_changed(self, uid: str, scope: Scope) -> None:
        """Take in a workload that is new, changed or gone."""
        workload = self.state.workload(uid)
        addresses: tuple[bytes, ...] = ()
        reference, locality = None, NOWHERE
        if workload is not None:
            addresses = tuple(content.pod_addresses(workload, self.vantage.network))
            reference = reference_of(workload)
            if workload.node == self.vantage.node != "":
                locality = workload.locality
        self.places.touched.update(self.addresses_of.pop(uid, ()), addresses)
        if addresses:
            self.addresses_of[uid] = addresses
        self.waypoints.add(reference)
        self.waypoints.drop(self.references.pop(uid, None))
        if reference is not None:
            self.references[uid] = reference
        self.localities.note(uid, locality)
        self.pods.refresh_workloads((uid,), scope)

    def settle(self, scope: Scope) -> None:
        """Bring what follows from several resources up to date."""
        for _ in self.settling(scope):
            pass

    def settling(self, scope: Scope) -> Iterator[None]:
        """``settle`` in small steps."""
        self.pods.doubt(scope)
        self.touch_moved(self.waypoints.refresh())
        for key in self.waypoints.take_turned():
            yield from self.service_steps(key, scope)
            self.pods.refresh_workloads(self.state.endpoints(key), scope)
        locality = self.localities.current()
        if locality != self.vantage.locality:
            self.vantage = replace(self.vantage, locality=locality)
            for key in sorted(self.balanced):
                yield from self.service_steps(key, scope)
        yield from self.places.settling(scope)
        if self.places.take_turned():
            self.pods.refresh(list(self.pods.uid_of), scope)

    def touch_moved(self, moved: set[Reference]) -> None:
        """References mean other services than before: touch what makes them."""
        if not moved:
            return
        for owned in self.services.values():
            if owned.service and reference_of(owned.service) in moved:
                self.places.touched.update(owned.addresses)
                self.places.touched_ranges.update(owned.ranges)
        for uid, reference in self.references.items():
            if reference in moved:
                self.places.touched.update(self.addresses_of.get(uid, ()))

    def enroll(
        self,
        number: int,
        uid: str,
        scope: Scope,
        identity: Identity | None = None,
        table: TableName = "pods",
    ) -> None:
        """A netns, by its cookie, holds this workload's pod from now on.

        Or a cgroup, by its id, with ``members``. identity: until xDS knows better.
        """
        self.pods.enroll((table, number), uid, identity, scope)

    def dismiss(self, number: int, scope: Scope, table: TableName = "pods") -> None:
        """A netns or cgroup holds no enrolled pod any more."""
        self.pods.dismiss((table, number), scope)
