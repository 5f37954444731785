"""Which services are waypoints: those that a service or workload names as one."""

from __future__ import annotations

from collections import Counter

from daemon.content import Resolver, waypoint_key
from ztunnel_compat.model import GatewayAddress, NamespacedHostname, Service, Workload

#: A waypoint reference, and the namespace of the resource that makes it.
Reference = tuple[GatewayAddress, str]


def reference_of(resource: Service | Workload) -> Reference | None:
    """The waypoint that a resource names, if any."""
    if resource.waypoint is None:
        return None
    return resource.waypoint, resource.namespace


class Waypoints:
    """References to waypoints, counted, and what each of them means now."""

    def __init__(self, resolve: Resolver) -> None:
        self.resolve = resolve
        self.counts: Counter[Reference] = Counter()
        self.meanings: dict[Reference, str] = {}
        self.references_of: dict[str, set[Reference]] = {}
        self.turned: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self.references_of

    def key(self, reference: Reference | None) -> str | None:
        """The key of the service meant, whether or not it exists."""
        return None if reference is None else waypoint_key(*reference, self.resolve)

    def add(self, reference: Reference | None) -> None:
        """Count one more resource that makes this reference."""
        if reference is None:
            return
        self.counts[reference] += 1
        if reference not in self.meanings:
            self.mean(reference, waypoint_key(*reference, self.resolve))

    def drop(self, reference: Reference | None) -> None:
        """Count one resource less."""
        if reference is None:
            return
        self.counts[reference] -= 1
        if not self.counts[reference]:
            del self.counts[reference]
            self.mean(reference, None)

    def refresh(self) -> set[Reference]:
        """Resolve references by address again; returns those that mean another service."""
        moved = {}
        for reference, key in self.meanings.items():
            if isinstance(reference[0].destination, NamespacedHostname):
                continue
            now = waypoint_key(*reference, self.resolve)
            if now != key:
                moved[reference] = now
        for reference, now in moved.items():
            self.mean(reference, now)
        return set(moved)

    def take_turned(self) -> set[str]:
        """Keys that became or ceased to be a waypoint's since this was last asked.

        Also those that did both: somebody may have looked in between.
        """
        turned, self.turned = self.turned, set()
        return turned

    def mean(self, reference: Reference, key: str | None) -> None:
        """Note what a reference means from now on; None when nobody makes it."""
        before = self.meanings.pop(reference, None)
        if before is not None:
            self.references_of[before].discard(reference)
            if not self.references_of[before]:
                del self.references_of[before]
                self.turned.add(before)
        if key is not None:
            self.meanings[reference] = key
            if key not in self.references_of:
                self.references_of[key] = set()
                self.turned.add(key)
            self.references_of[key].add(reference)
