from __future__ import annotations

from collections.abc import Sequence

import pytest

from bpf.addresses import mapped
from bpf.layout import Address, AddressKind, Endpoint, Family
from daemon import content
from tests.daemon.meshes import (
    by_address,
    by_name,
    hostname,
    ip,
    key_of,
    port_key,
    service,
    uid_of,
    workload,
)
from ztunnel_compat.model import (
    GatewayAddress,
    NamespacedHostname,
    NetworkAddress,
    Service,
    Workload,
)
from ztunnel_compat.names import name_hash

WEB = ("web",)


def ends(*pairs: tuple[str, int]) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(mapped(ip(address)), port) for address, port in pairs)


@pytest.mark.parametrize(
    ("what", "item", "endpoints", "expected"),
    [
        (
            "healthy endpoints of the address's family, in order",
            service("web", "10.96.0.1"),
            [
                workload("b", "10.0.0.2", "fd00::2", of=WEB),
                workload("a", "10.0.0.1", of=WEB),
                workload("c", "10.0.0.3", of=WEB, healthy=False),
            ],
            {port_key("web", 80): ends(("10.0.0.1", 8080), ("10.0.0.2", 8080))},
        ),
        (
            "health is ignored where the service says so",
            service("web", "10.96.0.1", any_health=True),
            [workload("c", "10.0.0.3", of=WEB, healthy=False)],
            {port_key("web", 80): ends(("10.0.0.3", 8080))},
        ),
        (
            "families apart, each with its own endpoints or none",
            service("web", "10.96.0.1", "fd00:96::1"),
            [workload("a", "10.0.0.1", of=WEB)],
            {
                port_key("web", 80): ends(("10.0.0.1", 8080)),
                port_key("web", 80, Family.IPV6): (),
            },
        ),
        (
            "a workload's own target port wins",
            service("web", "10.96.0.1"),
            [workload("a", "10.0.0.1", of=WEB, ports={80: 9090})],
            {port_key("web", 80): ends(("10.0.0.1", 9090))},
        ),
        (
            "an endpoint that doesn't have a named port isn't one for it",
            service("web", "10.96.0.1", ports={80: 0, 81: 8081}),
            [workload("a", "10.0.0.1", of=WEB)],
            {port_key("web", 80): (), port_key("web", 81): ends(("10.0.0.1", 8081))},
        ),
        (
            "a headless service has no address to ask for",
            service("web"),
            [workload("a", "10.0.0.1", of=WEB)],
            {},
        ),
        (
            "endpoints of another network can't be reached",
            service("web", "10.96.0.1"),
            [workload("a", "10.0.0.1", of=WEB, network="far")],
            {port_key("web", 80): ()},
        ),
        (
            "one address and port counts once; host network endpoints count",
            service("web", "10.96.0.1"),
            [
                workload("a", "10.0.0.1", of=WEB, host_network=True),
                workload("b", "10.0.0.1", of=WEB, host_network=True),
            ],
            {port_key("web", 80): ends(("10.0.0.1", 8080))},
        ),
        (
            "port 0 is kept for identity ports",
            service("web", "10.96.0.1", ports={0: 8080}),
            [workload("a", "10.0.0.1", of=WEB)],
            {},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_service_sets(
    what: str, item: Service, endpoints: Sequence[Workload], expected: object
) -> None:
    assert content.service_sets(item, endpoints, "") == expected, what


def test_identity_sets_leave_out_and_name_endpoints_without_a_tunnel() -> None:
    sets, problems = content.identity_sets(
        service("gate", "10.96.0.9"),
        [
            workload("good", "10.0.0.1", "fd00::1", tunnel=15088),
            workload("plain", "10.0.0.2"),
            workload("ill", "10.0.0.3", tunnel=15088, healthy=False),
        ],
        "",
    )
    assert sets == {
        port_key("gate", 0): ends(("10.0.0.1", 15088)),
        port_key("gate", 0, Family.IPV6): ends(("fd00::1", 15088)),
    }
    assert problems == [
        f"endpoint {uid_of('plain')} has no application tunnel: it can't be used as a waypoint"
    ]


def test_virtual_addresses_of_this_network_and_no_ranges() -> None:
    addresses = (
        NetworkAddress("", ip("10.96.0.1")),
        NetworkAddress("far", ip("10.96.0.2")),
        NetworkAddress("", ip("10.96.0.3"), 32),
        NetworkAddress("", ip("10.97.0.0"), 16),
    )
    item = Service("web", "app", hostname("web"), addresses)
    found, problems = content.virtual_addresses(item, "")
    assert found == [ip("10.96.0.1"), ip("10.96.0.3")]
    assert problems == ["address range /10.97.0.0/16 is not supported: left out"]


def test_pod_addresses_are_the_pods_own() -> None:
    assert content.pod_addresses(workload("a", "10.0.0.1"), "") == [ip("10.0.0.1")]
    assert content.pod_addresses(workload("a", "10.0.0.1", host_network=True), "") == []
    assert content.pod_addresses(workload("a", "10.0.0.1", network="far"), "") == []


def test_what_stands_at_an_address() -> None:
    assert content.service_address(service("web"), None) == Address(
        name_hash(key_of("web")), 0, AddressKind.SERVICE, 0
    )
    assert content.workload_address(workload("a", tunnel=15088), key_of("gate")) == Address(
        name_hash(uid_of("a")), name_hash(key_of("gate")), AddressKind.WORKLOAD, 15088
    )


def test_a_waypoint_reference_always_means_something() -> None:
    gate = service("gate", "10.96.0.9")

    def known(_reference: GatewayAddress, _namespace: str) -> Service:
        return gate

    def unknown(_reference: GatewayAddress, _namespace: str) -> None:
        return None

    own = GatewayAddress(NamespacedHostname("", hostname("gate")))
    assert content.waypoint_key(by_name("gate"), "other", unknown) == key_of("gate")
    assert content.waypoint_key(own, "app", unknown) == key_of("gate")
    assert content.waypoint_key(by_address("10.96.0.9"), "app", known) == key_of("gate")
    assert content.waypoint_key(by_address("10.96.0.9"), "app", unknown) == "/10.96.0.9"


def test_address_text() -> None:
    assert content.address_text(mapped(ip("10.0.0.1"))) == "10.0.0.1"
    assert content.address_text(ip("fd00::1")) == "fd00::1"
