"""The maps as they should be, kept up to date by what changed.

What one resource means is in ``content``; what follows from several (which of
an address's claimants wins, who is a waypoint, which pods stand behind one) is
found here, by indexes of who brought in what.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bpf.layout import Address, AddressKey, Pod, PortKey
from daemon import content
from daemon.content import EndpointSet
from daemon.scope import Scope
from daemon.waypoints import Reference, Waypoints, reference_of
from ztunnel_compat.model import Workload
from ztunnel_compat.names import name_hash
from ztunnel_compat.state import WorkloadState


@dataclass(frozen=True, slots=True)
class Owned:
    """What one service or workload brought in when it was last looked at."""

    addresses: frozenset[bytes] = frozenset()
    ports: frozenset[PortKey] = frozenset()
    reference: Reference | None = None
    problems: tuple[str, ...] = ()


NOTHING = Owned()


class Desired:
    """Content that the maps should have: ``pods``, ``addresses`` and ``sets``.

    ``service_changed`` and ``workload_changed`` take in one resource each, and
    ``settle`` must follow before the tables are read. ``enroll`` and
    ``dismiss`` are complete by themselves. All of them widen a scope.

    adopted: pods as an earlier process left them; their waypoints stay believed
    until the control plane has said everything once (``settle``).
    """

    def __init__(self, state: WorkloadState, network: str, adopted: Mapping[int, Pod]) -> None:
        self.pods: dict[int, Pod] = {}
        self.addresses: dict[AddressKey, Address] = {}
        self.sets: dict[PortKey, EndpointSet] = {}
        self.state = state
        self.network = network
        self.adopted: Mapping[int, Pod] | None = dict(adopted)
        self.waypoints = Waypoints(state.resolve_waypoint)
        self.services: dict[str, Owned] = {}
        self.workloads: dict[str, Owned] = {}
        self.uid_of: dict[int, str] = {}
        self.cookies_of: dict[str, set[int]] = {}
        self.touched: set[bytes] = set()
        self.new_problems: list[tuple[str, str]] = []

    def problems(self) -> dict[str, tuple[str, ...]]:
        """What was left out: a service's key -> texts."""
        return {key: owned.problems for key, owned in self.services.items() if owned.problems}

    def whole(self) -> Scope:
        """All keys that have content."""
        return Scope(set(self.pods), set(self.addresses), set(self.sets))

    def take_new_problems(self) -> list[tuple[str, str]]:
        """Services and what was left out of them, since this was last asked."""
        new, self.new_problems = self.new_problems, []
        return new

    def service_changed(self, key: str, scope: Scope) -> None:
        """Take in a service that is new, changed or gone."""
        before = self.services.get(key, NOTHING)
        sets: dict[PortKey, EndpointSet] = {}
        owned = NOTHING
        service = self.state.service(key)
        if service is not None:
            addresses, problems = content.virtual_addresses(service, self.network)
            endpoints = list(self.state.endpoints(key).values())
            sets = content.service_sets(service, endpoints, self.network)
            if key in self.waypoints:
                identity, unusable = content.identity_sets(service, endpoints, self.network)
                sets |= identity
                problems += unusable
            owned = Owned(
                frozenset(addresses), frozenset(sets), reference_of(service), tuple(problems)
            )
        for gone in before.ports - owned.ports:
            del self.sets[gone]
        self.sets |= sets
        scope.ports |= before.ports | owned.ports
        self.replace(self.services, key, owned)
        self.new_problems += [(key, p) for p in owned.problems if p not in before.problems]

    def workload_changed(self, uid: str, scope: Scope) -> None:
        """Take in a workload that is new, changed or gone."""
        workload = self.state.workload(uid)
        owned = NOTHING
        if workload is not None:
            owned = Owned(
                frozenset(content.pod_addresses(workload, self.network)),
                reference=reference_of(workload),
            )
        self.replace(self.workloads, uid, owned)
        self.refresh_pods(self.cookies_of.get(uid, ()), scope)

    def replace(self, owners: dict[str, Owned], name: str, owned: Owned) -> None:
        """Put an owner's contribution in the place of its earlier one."""
        before = owners.pop(name, NOTHING)
        if owned is not NOTHING:
            owners[name] = owned
        self.touched |= before.addresses | owned.addresses
        self.waypoints.add(owned.reference)
        self.waypoints.drop(before.reference)

    def settle(self, scope: Scope) -> None:
        """Bring what follows from several resources up to date."""
        for _ in self.settling(scope):
            pass

    def settling(self, scope: Scope) -> Iterator[None]:
        """``settle`` in small steps."""
        if self.adopted is not None:
            self.adopted = None
            self.refresh_pods(list(self.uid_of), scope)
        moved = self.waypoints.refresh()
        if moved:
            for owned in (*self.services.values(), *self.workloads.values()):
                if owned.reference in moved:
                    self.touched |= owned.addresses
        for key in self.waypoints.take_turned():
            self.service_changed(key, scope)
            self.refresh_pods(
                [c for uid in self.state.endpoints(key) for c in self.cookies_of.get(uid, ())],
                scope,
            )
            yield
        touched, self.touched = self.touched, set()
        for packed in touched:
            key_there = content.address_key(packed)
            scope.addresses.add(key_there)
            address = self.address_at(packed)
            if address is None:
                self.addresses.pop(key_there, None)
            else:
                self.addresses[key_there] = address
            yield

    def address_at(self, packed: bytes) -> Address | None:
        """What stands at an address: services go before workloads, as in ztunnel."""
        service = self.state.service_at(self.network, packed)
        if service is not None:
            return content.service_address(service, self.waypoints.key(reference_of(service)))
        workload = self.state.workload_at(self.network, packed)
        if workload is None or packed not in content.pod_addresses(workload, self.network):
            return None
        return content.workload_address(workload, self.waypoints.key(reference_of(workload)))

    def enroll(self, cookie: int, uid: str, scope: Scope) -> None:
        """A netns, by its cookie, holds this workload's pod from now on."""
        self.dismiss(cookie, scope)
        self.uid_of[cookie] = uid
        self.cookies_of.setdefault(uid, set()).add(cookie)
        self.refresh_pods((cookie,), scope)

    def dismiss(self, cookie: int, scope: Scope) -> None:
        """A netns holds no enrolled pod any more."""
        scope.pods.add(cookie)
        self.pods.pop(cookie, None)
        uid = self.uid_of.pop(cookie, None)
        if uid is not None:
            self.cookies_of[uid].discard(cookie)
            if not self.cookies_of[uid]:
                del self.cookies_of[uid]

    def refresh_pods(self, cookies: Iterable[int], scope: Scope) -> None:
        """Find out again what the kernel should know of these pods."""
        for cookie in cookies:
            scope.pods.add(cookie)
            uid = self.uid_of[cookie]
            workload = self.state.workload(uid)
            name = name_hash(uid)
            if self.adopted is not None:
                known = self.adopted.get(cookie)
                self.pods[cookie] = known if known and known.workload == name else Pod(name, 0)
            else:
                self.pods[cookie] = Pod(name, self.waypoint_behind(workload))

    def waypoint_behind(self, workload: Workload | None) -> int:
        """Hash of the waypoint's service that the workload is an endpoint of, or 0."""
        if workload is None:
            return 0
        keys = [key for key in workload.services if key in self.waypoints]
        return name_hash(min(keys)) if keys else 0
