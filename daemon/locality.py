"""Which endpoints are near enough: a service's routing preference, as ztunnel has it.

STRICT takes endpoints of full rank, FAILOVER those of the highest rank that any has.
NETWORK needs no care here: endpoints of other networks are left out before, so all
share it (ztunnel ranks them, because it can reach them through a gateway).

The client is the node: its sets serve all its pods. Its region, zone and subzone
are what most workloads of the node say; of equally many the first in alphabetical
order, and all empty while none says anything. Istio takes them from labels of the
node, so that they agree unless a pod's label says otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ztunnel_compat.model import LoadBalancing, LoadBalancingMode, Locality, Workload
from ztunnel_compat.nearness import rank

NOWHERE = Locality()


@dataclass(frozen=True, slots=True)
class Vantage:
    """Where the node's clients are.

    same_node_mtls: they reach workloads of this node by HBONE too.
    """

    network: str = ""
    node: str = ""
    cluster_id: str = "Kubernetes"
    locality: Locality = NOWHERE
    same_node_mtls: bool = False


class Localities:
    """What the node's workloads say of where it is."""

    def __init__(self) -> None:
        self.said: dict[str, Locality] = {}
        self.counts: Counter[Locality] = Counter()

    def note(self, uid: str, locality: Locality) -> None:
        """A workload of the node says this from now on; nothing: it left or doesn't know."""
        before = self.said.pop(uid, NOWHERE)
        if before != NOWHERE:
            self.counts[before] -= 1
            if not self.counts[before]:
                del self.counts[before]
        if locality != NOWHERE:
            self.said[uid] = locality
            self.counts[locality] += 1

    def current(self) -> Locality:
        """What most of them say."""

        def order(said: Locality) -> tuple[int, str, str, str]:
            return -self.counts[said], said.region, said.zone, said.subzone

        return min(self.counts, key=order, default=NOWHERE)


def is_balanced(balancing: LoadBalancing) -> bool:
    """Whether a service's endpoints are chosen by where they are."""
    return balancing.mode in {LoadBalancingMode.STRICT, LoadBalancingMode.FAILOVER}


def near(
    balancing: LoadBalancing, workloads: Sequence[Workload], vantage: Vantage
) -> set[str] | None:
    """The uids of those that may be chosen; None: all of them."""
    if not is_balanced(balancing):
        return None
    ranks = {w.uid: rank(balancing.routing_preference, vantage, w) for w in workloads}
    if balancing.mode is LoadBalancingMode.STRICT:
        wanted = len(balancing.routing_preference)
    else:
        wanted = max(ranks.values(), default=0)
    return {uid for uid, reached in ranks.items() if reached == wanted}
