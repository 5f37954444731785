"""Sizes of the kernel's maps: configuration, not limits of the design."""

from __future__ import annotations

from dataclasses import dataclass, fields

from bpf.errors import LoadError


@dataclass(frozen=True, slots=True)
class Knobs:
    """Most entries each map can hold; they reach the programs as ``-D``.

    pods       enrolled pods of this node
    addresses  VIPs and workload addresses of the whole mesh
    ports      (service port, family) pairs of the whole mesh
    endpoints  endpoints of all ports, twice that while a push is swapped in
    flows      open connections of this node's pods to mesh addresses
    pending    slots between connect() and the SYN; a power of two
    """

    pods: int = 1024
    addresses: int = 65536
    ports: int = 65536
    endpoints: int = 262144
    flows: int = 262144
    pending: int = 65536

    def __post_init__(self) -> None:
        for field in fields(self):
            size = getattr(self, field.name)
            if not 0 < size <= 1 << 26:
                raise LoadError(f"map size {field.name}={size}: must be 1 to {1 << 26}")
        if self.pending & (self.pending - 1):
            raise LoadError(f"map size pending={self.pending}: must be a power of two")

    def macros(self) -> dict[str, int]:
        """Each size as a C macro, ``MAX_<NAME>``."""
        names = [field.name for field in fields(self)]
        return {f"MAX_{name.upper()}": getattr(self, name) for name in names}
