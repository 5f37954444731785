"""What the kernel's hashes mean.

Workloads are found in the state by their hash; targets, which the state has no
index of, in one that is kept here. Both are remembered when they are gone: the
last connections of a workload end after it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

from ztunnel_compat.model import Service, Workload
from ztunnel_compat.names import name_hash, target_hash
from ztunnel_compat.state import Changes, WorkloadState

V = TypeVar("V")

#: Names that are remembered when they are gone.
REMEMBERED: Final = 10_000
#: Services taken in between two looks at the event loop.
SLICE: Final = 500


class Memory(Generic[V]):
    """The last values that were put in, by hash."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.entries: OrderedDict[int, V] = OrderedDict()

    def put(self, number: int, value: V) -> V:
        """Remember a value as the newest; the value."""
        self.entries[number] = value
        self.entries.move_to_end(number)
        if len(self.entries) > self.most:
            self.entries.popitem(last=False)
        return value

    def get(self, number: int) -> V | None:
        """What was remembered, or None."""
        return self.entries.get(number)


class Names:
    """Hashes to workloads, and to services and their ports."""

    def __init__(self, state: WorkloadState, remembered: int = REMEMBERED) -> None:
        self.state = state
        self.targets: dict[int, Service] = {}
        self.indexed: dict[str, tuple[int, ...]] = {}
        self.changed: dict[str, None] = {}
        self.gone_workloads: Memory[Workload] = Memory(remembered)
        self.gone_targets: Memory[Service] = Memory(remembered)

    def on_change(self, changes: Changes) -> None:
        """Note which services a push changed; ``refresh`` takes them in."""
        self.changed.update(dict.fromkeys(changes.services))

    def refresh(self) -> bool:
        """Take in a slice of what changed; whether there is more."""
        for key in take(self.changed, SLICE):
            self.index(key, self.state.service(key))
        return bool(self.changed)

    def index(self, key: str, service: Service | None) -> None:
        """Point a service's targets to it, and no others."""
        hashed = name_hash(key)
        ports = () if service is None else service.ports
        targets = tuple(target_hash(hashed, port.service_port) for port in ports)
        for target in self.indexed.pop(key, ()):
            if target not in targets:
                self.gone_targets.put(target, self.targets.pop(target))
        if service is not None:
            self.indexed[key] = targets
            self.targets.update(dict.fromkeys(targets, service))

    def workload(self, number: int) -> Workload | None:
        """The workload of a hash, as it is or last was; 0 is nobody's."""
        if not number:
            return None
        found = self.state.workload_by_hash(number)
        if found is None:
            return self.gone_workloads.get(number)
        # It may go before its last connection ends.
        return self.gone_workloads.put(number, found)

    def known(self, *numbers: int) -> bool:
        """Whether all of these are workloads' or 0."""
        return all(not number or self.workload(number) for number in numbers)

    def service(self, target: int) -> Service | None:
        """The service that a target is a port of, as it is or last was."""
        return self.targets.get(target) or self.gone_targets.get(target)


def take(entries: dict[str, None], most: int) -> Iterable[str]:
    """Remove up to ``most`` keys, the oldest first."""
    taken = [key for key, _ in zip(entries, range(most), strict=False)]
    for key in taken:
        del entries[key]
    return taken
