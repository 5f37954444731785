"""Sizes of the kernel's maps: configuration, not limits of the design."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, fields

from bpf.errors import LoadError


@dataclass(frozen=True, slots=True)
class Knobs:
    """Most entries each map can hold; they reach the programs as ``-D``.

    pods       enrolled pods of this node
    members    cgroups enrolled on this node
    addresses  VIPs and workload addresses of the whole mesh
    ranges     VIPs that are a CIDR
    ports      (service port, family) pairs of the whole mesh
    endpoints  endpoints of all ports, twice that while a push is swapped in
    guards     addresses of this node's pods
    listeners  ports that enrolled cgroups listen on
    flows      open connections of this node's pods, besides those in a slot
    flow_slots  slots for open connections; a power of two
    active     endpoints of services with least connections, while in use
    nameservers  addresses of the cluster's DNS
    sticky     clients and sockets that keep their endpoint; the least used make room
    replies    (UDP socket, endpoint) pairs; the least used make room
    pending    slots between connect() and the SYN; a power of two
    chunks     chunks of 1,024 rules of all policy sets, twice that during a push
    set_chunks          chunks that one policy set may have, 64 at most
    chunk_identities    (chunk, identity) pairs
    chunk_sources       (chunk, range of source addresses) pairs
    chunk_destinations  (chunk, range of destination addresses) pairs
    chunk_ports         (chunk, port) pairs
    hits       rules that denied something, and did so in a trial
    traffic    (source, target, destination) that connections are summed under
    events     bytes of events that user space has yet to read; a power of two, in pages
    waiting    slots set aside for SYNs that wait for their first data

    And for acceleration:

    accelerated  open connections that may be accelerated
    unread       bytes of memory that one direction may hold unread past TCP
    """

    pods: int = 1024
    members: int = 1024
    addresses: int = 262144
    ranges: int = 4096
    ports: int = 131072
    endpoints: int = 524288
    guards: int = 4096
    listeners: int = 4096
    flows: int = 262144
    flow_slots: int = 16384
    active: int = 65536
    nameservers: int = 64
    sticky: int = 32768
    replies: int = 32768
    pending: int = 32
    chunks: int = 4096
    set_chunks: int = 16
    chunk_identities: int = 65536
    chunk_sources: int = 65536
    chunk_destinations: int = 65536
    chunk_ports: int = 65536
    hits: int = 16384
    traffic: int = 16384
    events: int = 1 << 22
    waiting: int = 4096
    accelerated: int = 32768
    unread: int = 131072

    def __post_init__(self) -> None:
        for field in fields(self):
            size = getattr(self, field.name)
            if not 0 < size <= 1 << 26:
                raise LoadError(f"map size {field.name}={size}: must be 1 to {1 << 26}")
        for name in ("pending", "flow_slots"):
            if (size := getattr(self, name)) & (size - 1):
                raise LoadError(f"map size {name}={size}: must be a power of two")
        if self.set_chunks > 64:
            raise LoadError(f"map size set_chunks={self.set_chunks}: must be 1 to 64")
        if self.events & (self.events - 1) or self.events % mmap.PAGESIZE:
            raise LoadError(f"map size events={self.events}: must be a power of two, and pages")

    def macros(self) -> dict[str, int]:
        """Each size as a C macro, ``MAX_<NAME>``."""
        names = [field.name for field in fields(self)]
        return {f"MAX_{name.upper()}": getattr(self, name) for name in names}
