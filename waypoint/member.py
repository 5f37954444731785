"""An endpoint as one cluster has it: its connections, its share, and how it fares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waypoint.pool import Endpoint
from waypoint.resilience.health import Checked
from waypoint.resilience.outlier import Monitor, Outcome
from ztunnel_compat.model import Locality, Workload

if TYPE_CHECKING:
    from waypoint.cluster import Cluster


class Member(Endpoint):
    """One of a cluster's endpoints. Clusters share none, since they may differ in
    everything that connections are made by, and in who is ejected.

    active: requests that it has now; since: when it began to take requests; checks: what
    each of the active checks says. workload: what it is the address of.
    """

    __slots__ = (
        "active", "checks", "cluster", "locality", "monitor", "priority", "since", "weight",
        "workload",
    )  # fmt: skip

    def __init__(self, cluster: Cluster, host: str, port: int, since: float) -> None:
        super().__init__(host, port)
        self.cluster = cluster
        self.users = 1
        self.weight = 1
        self.priority = 0
        self.locality = Locality()
        self.active = 0
        self.since: float | None = since
        self.monitor = Monitor(self.label)
        self.checks: tuple[Checked, ...] = ()
        self.workload: Workload | None = None

    @property
    def ejected(self) -> bool:
        """Whether outlier detection leaves it out now."""
        return self.monitor.ejected_at is not None

    @property
    def healthy(self) -> bool:
        """Whether it may have requests."""
        return not self.ejected and self.passes

    @property
    def passes(self) -> bool:
        """Whether all active checks find it well; until each was good once, they don't."""
        return all(check.healthy for check in self.checks)

    def begin(self) -> None:
        """It has one more request."""
        self.active += 1
        self.cluster.traffic = True

    def end(self, outcome: int | Outcome | None = None) -> None:
        """A request is over.

        outcome: the response's status, or what came instead of one; None: its client
        gave up, which says nothing of the endpoint.
        """
        self.active -= 1
        if outcome is not None and self.cluster.outliers.settings is not None:
            self.report(outcome)

    def report(self, outcome: int | Outcome) -> None:
        """What tells of its health, beside requests' ends: a connection that was made."""
        if self.users:
            self.cluster.outliers.report(self.monitor, outcome, self.cluster.now())

    def dump(self) -> dict[str, object]:
        """What to know of it, JSON-able."""
        return {
            "idle": len(self.idle),
            "active": self.active,
            "weight": self.weight,
            "priority": self.priority,
            "healthy": self.healthy,
            "ejected": self.ejected,
            "checks": [check.healthy for check in self.checks],
        }
