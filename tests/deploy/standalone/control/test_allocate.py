from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

import pytest

from deploy.standalone.control.allocate import Allocations, Ranges, allocate, reserved
from deploy.standalone.control.objects import Family, Service
from tests.deploy.standalone.control.helpers import DUAL, one, service

V4, V6 = Family.IPV4, Family.IPV6
ONLY4 = Ranges(IPv4Network("10.96.0.0/16"), None)


def made(name: str, spec: str = "") -> Service:
    found = one(service(name, spec=spec))
    assert isinstance(found, Service)
    return found


def given(
    *services: Service, ranges: Ranges = DUAL, before: Allocations | None = None
) -> Allocations:
    return allocate(services, before.addresses if before else {}, ranges)


def texts(allocations: Allocations, name: str) -> list[str]:
    return [str(address) for address in allocations.addresses[("shop", name)]]


@pytest.mark.parametrize(
    ("spec", "families"),
    [
        ("", (V4,)),
        ("ipFamilies: [IPv6]", (V6,)),
        ("ipFamilyPolicy: PreferDualStack", (V4, V6)),
        ("ipFamilyPolicy: RequireDualStack\nipFamilies: [IPv6]", (V6, V4)),
        ("ipFamilies: [IPv6, IPv4]", (V6, V4)),
    ],
)
def test_families_in_a_mesh_of_both(spec: str, families: tuple[Family, ...]) -> None:
    found = given(made("web", spec))
    assert found.problems == ()
    assert found.families[("shop", "web")] == families
    versions = [address.version for address in found.addresses[("shop", "web")]]
    assert versions == [4 if family is V4 else 6 for family in families]


def test_prefer_dual_takes_what_there_is_and_require_dual_complains() -> None:
    assert given(made("web", "ipFamilyPolicy: PreferDualStack"), ranges=ONLY4).problems == ()
    for spec in ("ipFamilyPolicy: RequireDualStack", "ipFamilies: [IPv6]"):
        found = given(made("web", spec), ranges=ONLY4)
        assert "IPv4 only" in found.problems[0].message
        assert len(found.addresses[("shop", "web")]) == 1


def test_addresses_are_the_same_on_every_run_whatever_the_order() -> None:
    services = [made(f"s{number}") for number in range(200)]
    one_way, other = given(*services), given(*reversed(services))
    assert one_way.addresses == other.addresses
    assert len({a for found in one_way.addresses.values() for a in found}) == 200


def test_what_a_service_has_it_keeps() -> None:
    before = given(made("web"))
    held = {("shop", "web"): (ip_address("10.96.77.77"),)}
    after = allocate([made("web")], held, DUAL)
    assert texts(after, "web") == ["10.96.77.77"]
    assert texts(before, "web") != ["10.96.77.77"]


def test_a_headless_service_has_families_and_no_address() -> None:
    found = given(made("web", "clusterIP: None\nipFamilyPolicy: PreferDualStack"))
    assert found.addresses[("shop", "web")] == ()
    assert found.families[("shop", "web")] == (V4, V6)


def test_an_address_that_is_asked_for() -> None:
    found = given(made("web", "clusterIP: 10.96.0.77"))
    assert texts(found, "web") == ["10.96.0.77"]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("10.97.0.1", "10.97.0.1 is not in the Services' range 10.96.0.0/16"),
        ("10.96.0.10", "10.96.0.10 is reserved"),
    ],
)
def test_an_address_that_cannot_be_had_changes_nothing(wanted: str, reason: str) -> None:
    before = given(made("web"))
    found = given(made("web", f"clusterIP: {wanted}"), before=before)
    assert [problem.message for problem in found.problems] == [reason]
    assert found.addresses == before.addresses


def test_an_address_that_another_has() -> None:
    before = given(made("a"))
    (taken,) = texts(before, "a")
    found = given(made("a"), made("b", f"clusterIP: {taken}"), before=before)
    assert texts(found, "a") == [taken]
    assert texts(found, "b") == []
    assert found.problems[0].message == f"{taken} is already Service shop/a's"


def test_a_full_range_is_reported_and_never_overrun() -> None:
    tiny = Ranges(IPv4Network("10.96.0.0/26"), IPv6Network("fd00::/122"))
    services = [made(f"s{number}") for number in range(64)]
    found = given(*services, ranges=tiny)
    addresses = [address for each in found.addresses.values() for address in each]
    assert len(addresses) == len(set(addresses)) == 64 - 16 - 1
    assert len(found.problems) == 64 - len(addresses)
    assert "no address is left in 10.96.0.0/26" in found.problems[0].message
    assert not set(addresses) & reserved(IPv4Network("10.96.0.0/26"))
