from __future__ import annotations

from daemon.waypoints import Waypoints, reference_of
from tests.daemon.meshes import by_address, by_name, key_of, service, workload
from ztunnel_compat.model import GatewayAddress, Service

GATE = key_of("gate")


class Resolver:
    """Knows one service by address, or none."""

    def __init__(self) -> None:
        self.found: Service | None = None

    def __call__(self, _reference: GatewayAddress, _namespace: str) -> Service | None:
        return self.found


def test_reference_of() -> None:
    assert reference_of(service("web")) is None
    assert reference_of(workload("a", waypoint=by_name("gate"))) == (by_name("gate"), "app")


def test_a_waypoint_is_one_as_long_as_somebody_names_it() -> None:
    waypoints = Waypoints(Resolver())
    reference = (by_name("gate"), "app")
    waypoints.add(reference)
    waypoints.add(reference)
    assert GATE in waypoints
    assert waypoints.take_turned() == {GATE}
    waypoints.drop(reference)
    assert GATE in waypoints
    assert waypoints.take_turned() == set()
    waypoints.drop(reference)
    assert GATE not in waypoints
    assert waypoints.take_turned() == {GATE}


def test_one_named_from_two_namespaces() -> None:
    waypoints = Waypoints(Resolver())
    waypoints.add((by_name("gate"), "app"))
    waypoints.add((by_name("gate"), "other"))
    waypoints.drop((by_name("gate"), "app"))
    assert GATE in waypoints


def test_coming_and_going_between_two_looks_is_told() -> None:
    waypoints = Waypoints(Resolver())
    waypoints.add((by_name("gate"), "app"))
    waypoints.drop((by_name("gate"), "app"))
    assert waypoints.take_turned() == {GATE}


def test_a_reference_by_address_is_resolved_again() -> None:
    resolver = Resolver()
    waypoints = Waypoints(resolver)
    reference = (by_address("10.96.0.9"), "app")
    waypoints.add(reference)
    assert waypoints.take_turned() == {"/10.96.0.9"}
    assert waypoints.refresh() == set()
    resolver.found = service("gate", "10.96.0.9")
    assert waypoints.refresh() == {reference}
    assert waypoints.take_turned() == {"/10.96.0.9", GATE}
    assert waypoints.key(reference) == GATE
    assert waypoints.refresh() == set()


def test_nothing_named_is_nothing_counted() -> None:
    waypoints = Waypoints(Resolver())
    waypoints.add(None)
    waypoints.drop(None)
    assert waypoints.key(None) is None
    assert waypoints.take_turned() == set()
