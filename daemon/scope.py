"""The keys of each map that an update may have changed."""

from __future__ import annotations

from dataclasses import dataclass, field

from bpf.layout import AddressKey, PortKey


@dataclass(slots=True)
class Scope:
    """Keys to compare: pods by netns cookie, addresses, ports."""

    pods: set[int] = field(default_factory=set)
    addresses: set[AddressKey] = field(default_factory=set)
    ports: set[PortKey] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.pods) + len(self.addresses) + len(self.ports)

    def add(self, other: Scope) -> None:
        """Widen this scope by another."""
        self.pods |= other.pods
        self.addresses |= other.addresses
        self.ports |= other.ports
