"""Workloads that no pod is, on nodes: processes that a node takes in by their cgroup.

A node has those whose address is one of its own, whatever its agent says; that they are
reached by HBONE there, the agent says, and keeps saying: what it said last holds while
it is away.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from deploy.standalone.control.objects import IpAddress

#: uids of workloads, by the node whose agent says that it serves them.
Served = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Enrolled:
    """addresses: of processes on each node that are in no pod."""

    addresses: Mapping[str, frozenset[IpAddress]]
    served: Served = field(default_factory=dict)

    def node_of(self, ips: Collection[IpAddress]) -> str:
        """The node that has a workload's addresses; empty for none."""
        if not ips:
            return ""
        return next((node for node, own in self.addresses.items() if own.issuperset(ips)), "")

    def serves(self, node: str, uid: str) -> bool:
        """Whether a node's agent says that it takes tunnels for a workload."""
        return uid in self.served.get(node, ())
