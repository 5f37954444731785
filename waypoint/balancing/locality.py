"""Who is near: priorities and weights of localities, as Istio sets them.

A service's routing preference (istio.workload) goes first, since whoever wrote it
asked for it by name; then a DestinationRule's localityLbSetting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from types import MappingProxyType

from ztunnel_compat.model import LoadBalancing, LoadBalancingMode, Locality, Workload
from ztunnel_compat.nearness import rank

NO_LABELS: Mapping[str, str] = MappingProxyType({})
NOWHERE = Locality()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a workload is, by everything that preferences may name."""

    locality: Locality = NOWHERE
    node: str = ""
    cluster_id: str = "Kubernetes"
    network: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)

    @classmethod
    def of(cls, workload: Workload, labels: Mapping[str, str] = NO_LABELS) -> Place:
        """A workload's."""
        return cls(
            workload.locality, workload.node, workload.cluster_id, workload.network, labels
        )

    def label(self, key: str) -> str | None:
        """A label's value; those of the topology are known without being written."""
        match key:
            case "topology.kubernetes.io/region":
                return self.locality.region
            case "topology.kubernetes.io/zone":
                return self.locality.zone
            case "topology.istio.io/subzone":
                return self.locality.subzone
            case "topology.istio.io/network":
                return self.network
            case "topology.istio.io/cluster":
                return self.cluster_id
            case "kubernetes.io/hostname":
                return self.node
            case _:
                return self.labels.get(key)


@dataclass(frozen=True, slots=True)
class Distribute:
    """From a locality, weights of localities; ``region/zone/subzone``, ``*`` for the rest."""

    origin: str
    to: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class LocalitySetting:
    """Istio's localityLbSetting; of the three kinds, the first that is set counts.

    failover: region → the region that comes next. failover_priority: labels, ``key``
    or ``key=value`` for what the client's is taken to be.
    """

    distribute: tuple[Distribute, ...] = ()
    failover_priority: tuple[str, ...] = ()
    failover: tuple[tuple[str, str], ...] = ()


def preferred(balancing: LoadBalancing, client: Place, place: Place) -> int | None:
    """An endpoint's priority by the service's routing preference; None: it may not be used.

    STRICT takes full rank alone; with FAILOVER, what is missing of it is the priority.
    """
    preference = balancing.routing_preference
    missing = len(preference) - rank(preference, client, place)
    match balancing.mode:
        case LoadBalancingMode.STRICT:
            return None if missing else 0
        case LoadBalancingMode.FAILOVER:
            return missing
        case _:
            return 0


def failover_priority(setting: LocalitySetting, client: Place, place: Place) -> int:
    """An endpoint's priority by labels, or by region, zone and subzone."""
    if setting.failover_priority:
        return by_labels(setting.failover_priority, client, place)
    ours, theirs = client.locality, place.locality
    if ours.region != theirs.region:
        next_region = dict(setting.failover).get(ours.region)
        return 3 if next_region in {None, theirs.region} else 4
    if ours.zone != theirs.zone:
        return 2
    return 0 if ours.subzone == theirs.subzone else 1


def by_labels(keys: Sequence[str], client: Place, place: Place) -> int:
    """How many of the labels don't fit, from the first that doesn't on."""
    for number, key in enumerate(keys):
        name, stated, value = key.partition("=")
        wanted = value if stated else client.label(name)
        if place.label(name) != wanted:
            return len(keys) - number
    return 0


def fits(locality: Locality, rule: str) -> bool:
    """Whether a locality is meant by ``region/zone/subzone``, shorter, or with ``*``."""
    ours = (locality.region, locality.zone, locality.subzone)
    for part, own in zip(rule.split("/"), ours, strict=False):
        if part == "*":
            return True
        if part != own:
            return False
    return True


def distribution(
    setting: LocalitySetting, client: Place, weights: Mapping[Locality, int]
) -> dict[Locality, int] | None:
    """Localities' weights, from what their endpoints weigh; None: nothing is said.

    A rule that means several localities is shared among them by what they weigh; a
    locality that no rule means gets nothing.
    """
    rules = next((d for d in setting.distribute if fits(client.locality, d.origin)), None)
    if rules is None:
        return None
    left = dict(weights)
    found: dict[Locality, int] = {}
    for rule, share in rules.to:
        meant = {place: left.pop(place) for place in list(left) if fits(place, rule)}
        total = sum(meant.values())
        for place, weight in meant.items():
            if weight and share:
                found[place] = ceil(Fraction(weight * share, total))
    return found
