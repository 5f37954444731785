from __future__ import annotations

import pytest

from waypoint.balancing.locality import (
    Distribute,
    LocalitySetting,
    Place,
    distribution,
    failover_priority,
    fits,
    preferred,
)
from ztunnel_compat.model import LoadBalancing, LoadBalancingMode, Locality, Scope, Workload

HERE = Place(Locality("r1", "z1", "s1"), "node1", "c1", "n1", {"app": "gate", "tier": "x"})


def at(region: str, zone: str = "", subzone: str = "", **labels: str) -> Place:
    return Place(Locality(region, zone, subzone), "node2", "c1", "n1", labels)


SCOPES = (Scope.REGION, Scope.ZONE, Scope.SUBZONE)
STRICT, FAILOVER = LoadBalancingMode.STRICT, LoadBalancingMode.FAILOVER


@pytest.mark.parametrize(
    ("mode", "place", "priority"),
    [
        (FAILOVER, at("r1", "z1", "s1"), 0),
        (FAILOVER, at("r1", "z1", "s2"), 1),
        (FAILOVER, at("r1", "z2", "s1"), 2),
        (FAILOVER, at("r2", "z1", "s1"), 3),
        (STRICT, at("r1", "z1", "s1"), 0),
        (STRICT, at("r1", "z1", "s2"), None),
        (LoadBalancingMode.PASSTHROUGH, at("r2"), 0),
        (LoadBalancingMode.UNSPECIFIED, at("r2"), 0),
    ],
)
def test_routing_preference(
    mode: LoadBalancingMode, place: Place, priority: int | None
) -> None:
    assert preferred(LoadBalancing(SCOPES, mode), HERE, place) == priority


@pytest.mark.parametrize(
    ("scope", "shared"),
    [(Scope.NODE, 1), (Scope.CLUSTER, 0), (Scope.NETWORK, 0), (Scope.UNSPECIFIED, 1)],
)
def test_other_scopes(scope: Scope, shared: int) -> None:
    assert preferred(LoadBalancing((scope,), FAILOVER), HERE, at("r9")) == shared


@pytest.mark.parametrize(
    ("place", "priority"),
    [
        (at("r1", "z1", "s1"), 0),
        (at("r1", "z1", "s2"), 1),
        (at("r1", "z2", "s1"), 2),
        (at("r2", "z1", "s1"), 3),
        (at("r3", "z1", "s1"), 4),
    ],
)
def test_failover_by_region(place: Place, priority: int) -> None:
    setting = LocalitySetting(failover=(("r1", "r2"), ("r5", "r3")))
    assert failover_priority(setting, HERE, place) == priority
    plain = failover_priority(LocalitySetting(), HERE, place)
    assert plain == min(priority, 3)


@pytest.mark.parametrize(
    ("keys", "place", "priority"),
    [
        (("topology.kubernetes.io/region", "tier"), at("r1", tier="x"), 0),
        (("topology.kubernetes.io/region", "tier"), at("r1", tier="y"), 1),
        (("topology.kubernetes.io/region", "tier"), at("r2", tier="x"), 2),
        (("tier=y",), at("r1", tier="y"), 0),
        (("tier=y",), at("r1", tier="x"), 1),
        (("kubernetes.io/hostname",), at("r1"), 1),
        (("topology.istio.io/network", "topology.istio.io/cluster"), at("r2"), 0),
        (("topology.kubernetes.io/zone", "topology.istio.io/subzone"), at("", "z1", "s2"), 1),
        (("neither",), at("r1"), 0),
    ],
)
def test_failover_by_labels(keys: tuple[str, ...], place: Place, priority: int) -> None:
    assert failover_priority(LocalitySetting(failover_priority=keys), HERE, place) == priority


@pytest.mark.parametrize(
    ("rule", "yes"),
    [("*", 1), ("r1", 1), ("r1/*", 1), ("r1/z1", 1), ("r1/z1/*", 1), ("r1/z1/s1", 1),
     ("r2", 0), ("r1/z2", 0), ("r1/z1/s2", 0), ("r", 0)],
)  # fmt: skip
def test_fits(rule: str, yes: int) -> None:
    assert fits(HERE.locality, rule) == bool(yes)


A, B, C, D = (Locality("r1", "z1"), Locality("r1", "z2"), Locality("r2", "z1"), Locality("r3"))


def test_distribution() -> None:
    setting = LocalitySetting(
        distribute=(
            Distribute("r9/*", (("*", 100),)),
            Distribute("r1/z1/*", (("r1/z1/*", 80), ("r2/*", 20))),
        )
    )
    assert distribution(setting, HERE, {A: 3, B: 1, C: 2}) == {A: 80, C: 20}
    shared = LocalitySetting(distribute=(Distribute("*", (("r1/*", 70), ("r3", 30))),))
    assert distribution(shared, HERE, {A: 3, B: 1, C: 2, D: 1}) == {A: 53, B: 18, D: 30}
    assert distribution(setting, at("r8"), {A: 1}) is None
    # What an earlier rule took is no later one's.
    twice = LocalitySetting(distribute=(Distribute("*", (("r1/z1", 10), ("r1/*", 90))),))
    assert distribution(twice, HERE, {A: 1, B: 1}) == {A: 10, B: 90}


def test_place_of_a_workload() -> None:
    workload = Workload("w", node="n", locality=A, cluster_id="c", network="net")
    assert Place.of(workload, {"a": "b"}) == Place(A, "n", "c", "net", {"a": "b"})
