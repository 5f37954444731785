from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from daemon.dns.answers import Answers, Asker, Found
from tests.daemon.dns.meshes import APP, DOMAIN, full, mesh, service
from ztunnel_compat.model import Service, Workload
from ztunnel_compat.state import WorkloadState

OTHER = Asker("other", "")
ELSEWHERE = Asker("app", "elsewhere")


class World:
    """A state whose changes the answers are told."""

    def __init__(self, *resources: Service | Workload) -> None:
        self.state = WorkloadState()
        self.answers = Answers(self.state, DOMAIN)
        self.apply(*resources)

    def apply(self, *updated: Service | Workload, removed: tuple[str, ...] = ()) -> None:
        self.answers.changed(self.state.apply(updated, removed))

    def ask(self, name: str, kind: str = "A", asker: Asker = APP) -> set[str] | None:
        found = self.answers.find(name, 4 if kind == "A" else 16, asker)
        return None if found is None else texts(found)


def texts(found: Found) -> set[str]:
    return {str(ipaddress.ip_address(address)) for address in found.addresses}


@pytest.fixture(scope="module")
def world() -> World:
    return World(*mesh())


@pytest.mark.parametrize(
    ("name", "kind", "asker", "addresses"),
    [
        # All forms of a service's name, from its own namespace and from another.
        ("web", "A", APP, {"10.96.0.1"}),
        ("web", "AAAA", APP, {"fd00::1"}),
        ("web.app", "A", APP, {"10.96.0.1"}),
        ("web.app.svc", "A", APP, {"10.96.0.1"}),
        (full("web"), "A", APP, {"10.96.0.1"}),
        ("web", "A", OTHER, {"10.96.0.3"}),
        ("web.other", "A", APP, {"10.96.0.3"}),
        ("web.app", "A", OTHER, {"10.96.0.1"}),
        ("web.app.other.svc.cluster.local", "A", OTHER, {"10.96.0.1"}),
        ("web.app.svc.cluster.local.app.svc.cluster.local", "A", APP, {"10.96.0.1"}),
        ("four", "A", OTHER, None),
        # What exists without such an address.
        ("four", "AAAA", APP, set()),
        ("away", "A", APP, set()),
        ("away", "A", ELSEWHERE, {"10.96.0.6"}),
        ("web", "A", ELSEWHERE, set()),
        # Visible in its own namespace only.
        ("private.other", "A", APP, None),
        ("private", "A", OTHER, {"10.96.0.4"}),
        ("secret", "A", APP, {"10.96.0.5"}),
        ("secret.app", "A", OTHER, None),
        # ServiceEntries.
        ("db.example.com", "A", APP, {"240.240.0.1"}),
        ("db.example.com", "AAAA", OTHER, {"2001:2::1"}),
        ("db.example.com.app.svc.cluster.local", "A", APP, {"240.240.0.1"}),
        ("mixed.example.com", "A", APP, {"240.240.0.2"}),
        ("x.wild.example.com", "A", APP, {"240.240.0.3"}),
        ("y.x.wild.example.com", "A", APP, {"240.240.0.3"}),
        ("x.deep.wild.example.com", "A", APP, {"240.240.0.4"}),
        ("deep.wild.example.com", "A", APP, {"240.240.0.3"}),
        ("wild.example.com", "A", APP, None),
        ("xwild.example.com", "A", APP, None),
        ("shared.example.com", "A", APP, {"240.240.0.7"}),
        ("shared.example.com", "A", OTHER, {"240.240.0.6"}),
        ("range.example.com", "A", APP, None),
        ("one.example.com", "A", APP, {"240.240.0.8"}),
        ("nowhere.example.com", "A", APP, None),
        ("example.com", "A", APP, None),
        # Headless.
        ("db", "A", APP, {"10.244.0.1", "10.244.0.2"}),
        ("db", "AAAA", APP, {"fd01::1", "fd01::2"}),
        ("db.app", "A", OTHER, {"10.244.0.1", "10.244.0.2"}),
        ("db", "A", ELSEWHERE, {"10.244.0.4"}),
        ("any", "A", APP, {"10.244.0.5"}),
        ("any", "AAAA", APP, set()),
        ("nobody", "A", APP, set()),
        # Pods of a headless service.
        ("db-0.db", "A", APP, {"10.244.0.1"}),
        ("db-1.db.app", "AAAA", OTHER, {"fd01::2"}),
        ("db-0.db.app.svc", "A", OTHER, {"10.244.0.1"}),
        ("db-0.db.app.svc.cluster.local", "A", OTHER, {"10.244.0.1"}),
        ("db-2.db", "A", APP, None),
        ("db-9.db", "A", APP, None),
        ("any-0.any", "A", APP, None),
        ("db-0.web", "A", APP, None),
        ("db-0", "A", APP, None),
    ],
)
def test_addresses(
    world: World, name: str, kind: str, asker: Asker, addresses: set[str] | None
) -> None:
    assert world.ask(name, kind, asker) == addresses


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("web", 0),
        (full("web"), 0),
        ("db.example.com", 0),
        ("db.example.com.app.svc.cluster.local", 3),
        ("db.example.com.svc.cluster.local", 3),
        ("db.example.com.cluster.local", 3),
        ("web.other.app.svc.cluster.local", 2),
        ("db-0.db.app.app.svc.cluster.local", 3),
        # A wildcard covers the asked name itself.
        ("x.wild.example.com.app.svc.cluster.local", 0),
    ],
)
def test_what_is_left_without_a_search_domain(world: World, name: str, kept: int) -> None:
    found = world.answers.find(name, 4, APP)
    assert found is not None
    assert found.kept == kept


def test_changes_are_seen() -> None:
    world = World()
    assert world.ask("mixed.example.com") is None
    upper, title = (
        service(name, vip)
        for name, vip in (("MIXED.example.com", "1.1.1.1"), ("Mixed.example.com", "1.1.1.2"))
    )
    world.apply(upper)
    assert world.ask("mixed.example.com") == {"1.1.1.1"}
    world.apply(title, removed=(upper.key,))
    assert world.ask("mixed.example.com") == {"1.1.1.2"}
    world.apply(removed=(title.key,))
    assert world.ask("mixed.example.com") is None
    assert world.answers.mixed_case == {}


def test_a_canonical_service_goes_before_others_but_not_before_ones_own() -> None:
    first, second, own = (
        service("x.com", f"1.1.1.{n}", namespace=namespace)
        for n, namespace in enumerate(["a", "b", "app"])
    )
    world = World(first, replace(second, canonical=True))
    assert world.ask("x.com") == {"1.1.1.1"}
    world.apply(own)
    assert world.ask("x.com") == {"1.1.1.2"}


def test_wildcards_of_mixed_case() -> None:
    world = World(service("*.Wild.com", "1.1.1.1"))
    assert world.ask("a.wild.com") == {"1.1.1.1"}


def test_a_name_asks_for_few_things_however_many_services_there_are() -> None:
    """Look-ups are by name: nothing goes through all services."""
    world = World(*(service(f"*.s{n}.example.com", "1.1.1.1") for n in range(1000)))
    asked: list[str] = []
    look_up = world.state.services_on_host

    def noting(hostname: str) -> tuple[Service, ...]:
        asked.append(hostname)
        return look_up(hostname)

    world.state.services_on_host = noting  # type: ignore[method-assign]
    assert world.ask("a.b.s999.example.com.app.svc.cluster.local") == {"1.1.1.1"}
    assert len(asked) < 40
