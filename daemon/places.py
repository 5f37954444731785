"""Who stands at each virtual address, range and workload address, and for whom.

An entry for everyone and entries for single namespaces make up ztunnel's rule
(get_best_by_vip in its src/state/service.rs), in which visibility comes first, then
an exact address before a range, a pod's own namespace, the longer prefix, and a
canonical service. A kernel program looks among its namespace's own addresses, its
own ranges, everyone's addresses, everyone's ranges. So a namespace has an entry

- for an address that its own service has, but not for everyone
- for each range of its own services: even a longer one of others comes after it
- for every service's address within such a range, which would hide it

Workloads come after services: at their addresses they are for everyone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from daemon import content
from daemon.content import EVERYONE
from daemon.locality import Vantage
from daemon.scope import Content, Scope, TableName
from ztunnel_compat.model import Range, Service, Workload, network_of
from ztunnel_compat.names import name_hash
from ztunnel_compat.state import WorkloadState

#: Addresses looked at between two yields.
STEP = 512
NO_NAMESPACES: frozenset[int] = frozenset()


class Places:
    """Keeps ``addresses`` and ``ranges`` of the desired content.

    waypoint: the key of the waypoint of what stands somewhere. ``touch`` what may
    have changed, then ``settling``; ``take_turned`` tells whose pods' flags did.
    """

    def __init__(
        self,
        state: WorkloadState,
        vantage: Vantage,
        desired: Content,
        waypoint: Callable[[Service | Workload], str | None],
    ) -> None:
        self.state = state
        self.vantage = vantage
        self.desired = desired
        self.waypoint = waypoint
        # How many ranges there are of each size of addresses and prefix length.
        self.shapes: Counter[tuple[int, int]] = Counter()
        self.touched: set[bytes] = set()
        self.touched_ranges: set[Range] = set()
        # Namespaces that have an entry of their own at a place; of most places none.
        self.namespaces_at: dict[bytes | Range, frozenset[int]] = {}
        self.common_ranges: set[Range] = set()
        self.entries_of: Counter[int] = Counter()
        self.flagged: frozenset[int] = frozenset()

    def replace_ranges(self, before: Iterable[Range], after: Iterable[Range]) -> None:
        """A service has other ranges than before."""
        self.touched_ranges.update(before, after)
        self.shapes.subtract([(len(network), length) for network, length in before])
        self.shapes.update([(len(network), length) for network, length in after])
        self.shapes = +self.shapes

    def own_addresses(self, namespace: int) -> bool:
        """Whether pods of a namespace, by its hash, must look at its own entries."""
        return namespace in self.flagged

    @property
    def ranges_for_all(self) -> bool:
        """Whether every pod must look at ranges."""
        return EVERYONE in self.flagged

    def take_turned(self) -> bool:
        """Whether flags of pods changed since this was last asked."""
        now = frozenset(self.entries_of) | ({EVERYONE} if self.common_ranges else NO_NAMESPACES)
        before, self.flagged = self.flagged, now
        return before != now

    def settling(self, scope: Scope) -> Iterator[None]:
        """Bring what was touched up to date, in small steps; widens the scope."""
        ranges, self.touched_ranges = self.touched_ranges, set()
        if ranges:
            yield from self.touch_within(ranges)
        for place in ranges:
            entries = self.at_range(place)
            self.write("ranges", place, entries, content.range_keys, scope)
            if EVERYONE in entries:
                self.common_ranges.add(place)
            else:
                self.common_ranges.discard(place)
            yield
        touched, self.touched = self.touched, set()
        for packed in touched:
            entries = self.at_address(packed)
            self.write("addresses", packed, entries, address_keys, scope)
            yield

    def touch_within(self, ranges: set[Range]) -> Iterator[None]:
        """Touch services' addresses that ranges hide, or hid."""
        shapes = {(len(network), length) for network, length in ranges}
        for number, (network, packed) in enumerate(
            list(self.state.service_addresses.claimants)
        ):
            if number % STEP == 0:
                yield
            if network == self.vantage.network and any(
                size == len(packed) and (network_of(packed, length), length) in ranges
                for size, length in shapes
            ):
                self.touched.add(packed)

    def at_address(self, packed: bytes) -> Mapping[int, bytes]:
        """What stands at an address, by namespace."""
        claims = self.state.services_at(self.vantage.network, packed)
        common = content.best([s for s in claims if not s.namespace_visible_only])
        entries: dict[int, bytes] = {}
        if common is not None:
            entries[EVERYONE] = self.of_service(common)
        else:
            workload = self.state.workload_at(self.vantage.network, packed)
            if workload and packed in content.pod_addresses(workload, self.vantage.network):
                entries[EVERYONE] = content.workload_address(
                    workload, self.waypoint(workload), self.vantage
                )
        if not claims:
            return entries
        hidden = self.namespaces_around(packed)
        for namespace in hidden.union([s.namespace for s in claims]):
            own = content.best([s for s in claims if s.namespace == namespace]) or common
            if own is not None and (own is not common or namespace in hidden):
                entries[name_hash(namespace)] = self.of_service(own)
        return entries

    def at_range(self, place: Range) -> Mapping[int, bytes]:
        """What stands at a range, by namespace."""
        claims = self.state.services_with(self.vantage.network, place)
        entries: dict[int, bytes] = {}
        common = content.best([s for s in claims if not s.namespace_visible_only])
        if common is not None:
            entries[EVERYONE] = self.of_service(common)
        for namespace in {s.namespace for s in claims}:
            own = content.best([s for s in claims if s.namespace == namespace])
            if own is not None:
                entries[name_hash(namespace)] = self.of_service(own)
        return entries

    def of_service(self, service: Service) -> bytes:
        """A service, for any of its places."""
        return content.service_address(service, self.waypoint(service))

    def namespaces_around(self, packed: bytes) -> set[str]:
        """The namespaces that have a range of their own around an address."""
        return {
            service.namespace
            for size, length in self.shapes
            if size == len(packed)
            for service in self.state.services_with(
                self.vantage.network, (network_of(packed, length), length)
            )
        }

    def write(
        self,
        table: TableName,
        place: bytes | Range,
        entries: Mapping[int, bytes],
        keys: Callable[..., Iterable[bytes]],
        scope: Scope,
    ) -> None:
        """Put entries in the place of those that were there."""
        before = self.namespaces_at.pop(place, NO_NAMESPACES)
        now = frozenset(n for n in entries if n != EVERYONE)
        if now:
            self.namespaces_at[place] = now
        if before != now:
            self.entries_of.update(now - before)
            self.entries_of.subtract(before - now)
            self.entries_of = +self.entries_of
        target = self.desired.of(table)
        for namespace in (EVERYONE, *(before | now)):
            for key in keys(place, namespace):
                scope.of(table).add(key)
                if namespace in entries:
                    target[key] = entries[namespace]
                else:
                    target.pop(key, None)


def address_keys(packed: bytes, namespace: int) -> Iterable[bytes]:
    """The one key of an address."""
    return (content.address_key(packed, namespace),)
