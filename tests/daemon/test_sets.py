from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from bpf.addresses import mapped
from bpf.layout import AddressFlag, Family
from daemon import sets
from daemon.locality import Vantage
from daemon.sets import FAMILY_OF, STEP
from tests.daemon.meshes import (
    HERE,
    balanced,
    end,
    endpoints,
    ends,
    ip,
    key_of,
    port_key,
    service,
    uid_of,
    workload,
)
from ztunnel_compat.model import Locality, Service, TunnelProtocol, Workload
from ztunnel_compat.names import name_hash

T = TypeVar("T")
WEB = ("web",)
ZONED = Vantage(node="n1", locality=Locality("r", "z1", ""))


def finish(steps: Generator[None, None, T]) -> T:
    """Run a generator to its end; its value."""
    while True:
        try:
            next(steps)
        except StopIteration as end_:
            value: T = end_.value
            return value


def of_service(
    item: Service, workloads: Sequence[Workload], vantage: Vantage = HERE
) -> dict[bytes, bytes]:
    families = {FAMILY_OF[len(a.address)] for a in item.addresses}
    chosen = sets.usable(item, workloads, vantage.network)
    return finish(sets.service_sets(item, families, chosen, vantage))


@pytest.mark.parametrize(
    ("what", "item", "workloads", "expected"),
    [
        (
            "healthy endpoints of the address's family, in order",
            service("web", "10.96.0.1"),
            [
                workload("b", "10.0.0.2", "fd00::2", of=WEB),
                workload("a", "10.0.0.1", of=WEB),
                workload("c", "10.0.0.3", of=WEB, healthy=False),
            ],
            {port_key("web", 80): ends(end("10.0.0.1", 8080, "a"), end("10.0.0.2", 8080, "b"))},
        ),
        (
            "health is ignored where the service says so",
            service("web", "10.96.0.1", any_health=True),
            [workload("c", "10.0.0.3", of=WEB, healthy=False)],
            {port_key("web", 80): ends(end("10.0.0.3", 8080, "c"))},
        ),
        (
            "families apart, each with its own endpoints or none",
            service("web", "10.96.0.1", "fd00:96::1"),
            [workload("a", "10.0.0.1", of=WEB)],
            {
                port_key("web", 80): ends(end("10.0.0.1", 8080, "a")),
                port_key("web", 80, Family.IPV6): b"",
            },
        ),
        (
            "dual stack: an endpoint in both",
            service("web", "10.96.0.1", "fd00:96::1"),
            [workload("a", "10.0.0.1", "fd00::1", of=WEB)],
            {
                port_key("web", 80): ends(end("10.0.0.1", 8080, "a")),
                port_key("web", 80, Family.IPV6): ends(end("fd00::1", 8080, "a")),
            },
        ),
        (
            "several addresses of a service share its sets; a range has them too",
            service("web", "10.96.0.1", "10.96.0.2", "10.97.0.0/16"),
            [workload("a", "10.0.0.1", of=WEB)],
            {port_key("web", 80): ends(end("10.0.0.1", 8080, "a"))},
        ),
        (
            "a workload's own target port wins, endpoint by endpoint",
            service("web", "10.96.0.1"),
            [
                workload("a", "10.0.0.1", of=WEB, ports={80: 9090}),
                workload("b", "10.0.0.2", of=WEB, ports={81: 9091}),
            ],
            {port_key("web", 80): ends(end("10.0.0.1", 9090, "a"), end("10.0.0.2", 8080, "b"))},
        ),
        (
            "an endpoint that doesn't have a named port isn't one for it",
            service("web", "10.96.0.1", ports={80: 0, 81: 8081}),
            [workload("a", "10.0.0.1", of=WEB)],
            {
                port_key("web", 80): b"",
                port_key("web", 81): ends(end("10.0.0.1", 8081, "a")),
            },
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
            {port_key("web", 80): b""},
        ),
        (
            "an endpoint without capacity is never chosen",
            service("web", "10.96.0.1"),
            [workload("a", "10.0.0.1", of=WEB), workload("b", "10.0.0.2", of=WEB, capacity=0)],
            {port_key("web", 80): ends(end("10.0.0.1", 8080, "a"))},
        ),
        (
            "one address and port counts once; host network endpoints count",
            service("web", "10.96.0.1"),
            [
                workload("b", "10.0.0.1", of=WEB, host_network=True),
                workload("a", "10.0.0.1", "10.0.0.1", of=WEB, host_network=True),
            ],
            {port_key("web", 80): ends(end("10.0.0.1", 8080, "a"))},
        ),
        (
            "port 0 is kept for identity ports",
            service("web", "10.96.0.1", ports={0: 8080}),
            [workload("a", "10.0.0.1", of=WEB)],
            {},
        ),
        (
            "where connections pass through, the ports are known and the endpoints not",
            service("web", "10.96.0.1", balancing=balanced("PASSTHROUGH")),
            [workload("a", "10.0.0.1", of=WEB)],
            {port_key("web", 80): b""},
        ),
        (
            "endpoints of this node, and those that ask for acceleration",
            service("web", "10.96.0.1"),
            [
                workload("a", "10.0.0.1", of=WEB, node="n1"),
                workload("b", "10.0.0.2", of=WEB, node="n2", accelerate=True),
            ],
            {
                port_key("web", 80): ends(
                    end("10.0.0.1", 8080, "a", AddressFlag.LOCAL),
                    end("10.0.0.2", 8080, "b", AddressFlag.ACCELERATE),
                )
            },
        ),
        (
            "other capacities, other chances: three of four draws lead to b",
            service("web", "10.96.0.1"),
            [
                workload("a", "10.0.0.1", of=WEB),
                workload("b", "10.0.0.2", of=WEB, capacity=3),
            ],
            {
                port_key("web", 80): ends(
                    end("10.0.0.1", 8080, "a", keep=1 << 31, alias=1),
                    end("10.0.0.2", 8080, "b"),
                )
            },
        ),
        (
            "equal capacities need no table",
            service("web", "10.96.0.1"),
            [
                workload("a", "10.0.0.1", of=WEB, capacity=7),
                workload("b", "10.0.0.2", of=WEB, capacity=7),
            ],
            {port_key("web", 80): ends(end("10.0.0.1", 8080, "a"), end("10.0.0.2", 8080, "b"))},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_service_sets(
    what: str, item: Service, workloads: Sequence[Workload], expected: object
) -> None:
    assert of_service(item, workloads) == expected, what


def near_far(*options: str) -> Service:
    return service("web", "10.96.0.1", "fd00:96::1", balancing=balanced(*options))


@pytest.mark.parametrize(
    ("what", "item", "workloads", "ipv4", "ipv6"),
    [
        (
            "STRICT keeps to its own",
            near_far("STRICT", "REGION", "ZONE"),
            [
                workload("a", "10.0.0.1", of=WEB, where="r/z1/"),
                workload("b", "10.0.0.2", of=WEB, where="r/z2/"),
            ],
            "a",
            "",
        ),
        (
            "STRICT without one of its own has none",
            near_far("STRICT", "REGION", "ZONE"),
            [workload("b", "10.0.0.2", of=WEB, where="r/z2/")],
            "",
            "",
        ),
        (
            "FAILOVER takes the nearest that there are, in each family",
            near_far("FAILOVER", "REGION", "ZONE"),
            [
                workload("a", "10.0.0.1", of=WEB, where="r/z1/"),
                workload("b", "10.0.0.2", "fd00::2", of=WEB, where="r/z2/"),
                workload("c", "10.0.0.3", "fd00::3", of=WEB, where="q/z1/"),
            ],
            "a",
            "b",
        ),
        (
            "FAILOVER goes past those that can't be used",
            near_far("FAILOVER", "REGION", "ZONE"),
            [
                workload("a", "10.0.0.1", of=WEB, where="r/z1/", healthy=False),
                workload("b", "10.0.0.2", of=WEB, where="r/z1/", capacity=0),
                workload("c", "10.0.0.3", of=WEB, where="q/z9/"),
            ],
            "c",
            "",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_where_endpoints_are(
    what: str, item: Service, workloads: Sequence[Workload], ipv4: str, ipv6: str
) -> None:
    found = of_service(item, workloads, ZONED)
    for family, names in ((Family.IPV4, ipv4), (Family.IPV6, ipv6)):
        members = endpoints(found[port_key("web", 80, family)])
        assert {m.workload for m in members} == {name_hash(uid_of(n)) for n in names}, what


def test_a_rank_counts_for_the_ports_that_an_endpoint_has() -> None:
    item = service(
        "web", "10.96.0.1", ports={80: 0, 81: 0}, balancing=balanced("FAILOVER", "ZONE")
    )
    workloads = [
        workload("a", "10.0.0.1", of=WEB, where="r/z1/", ports={80: 8080}),
        workload("b", "10.0.0.2", of=WEB, where="r/z2/", ports={80: 8080, 81: 8081}),
    ]
    found = of_service(item, workloads, ZONED)
    assert found[port_key("web", 80)] == ends(end("10.0.0.1", 8080, "a"))
    assert found[port_key("web", 81)] == ends(end("10.0.0.2", 8081, "b"))


def test_several_services_of_one_workload() -> None:
    a = workload("a", "10.0.0.1", of=("web", "db"), ports={80: 9090})
    web, db = service("web", "10.96.0.1"), service("db", "10.96.0.2", ports={5432: 15432})
    assert of_service(web, [a]) == {port_key("web", 80): ends(end("10.0.0.1", 9090, "a"))}
    assert of_service(db, [a]) == {port_key("db", 5432): ends(end("10.0.0.1", 15432, "a"))}


HBONE = TunnelProtocol.HBONE
LOCAL, TUNNEL = AddressFlag.LOCAL, AddressFlag.TUNNEL


@pytest.mark.parametrize(
    ("node", "options", "flags"),
    [
        ("n2", {}, TUNNEL),
        ("", {}, TUNNEL),  # on no node: an external workload
        ("n1", {}, LOCAL),
        ("n2", {"tunnel_protocol": TunnelProtocol.NONE}, 0),
        ("n2", {"host_network": True}, 0),
    ],
)
def test_who_is_reached_by_hbone(node: str, options: dict[str, Any], flags: int) -> None:
    options = {"tunnel_protocol": HBONE} | options
    a = workload("a", "10.0.0.1", node=node, **options)
    assert sets.workload_flags(a, HERE) == flags


def test_who_is_reached_by_hbone_on_this_node() -> None:
    everywhere = replace(HERE, same_node_mtls=True)
    a = workload("a", "10.0.0.1", node="n1", tunnel_protocol=HBONE)
    assert sets.workload_flags(a, everywhere) == LOCAL | TUNNEL
    assert sets.workload_flags(workload("b", "10.0.0.2", node="n1"), everywhere) == LOCAL


def test_a_node_that_is_not_known_has_no_other() -> None:
    a = workload("a", "10.0.0.1", node="n1", tunnel_protocol=HBONE)
    assert sets.workload_flags(a, Vantage()) == 0


def test_waypoints_on_other_nodes_and_of_others_make() -> None:
    """A waypoint without an identity port takes HBONE alone, wherever it is."""
    workloads = [
        workload("a", "10.0.0.1", node="n1", tunnel_protocol=HBONE, tunnel=15088),
        workload("b", "10.0.0.2", node="n2", tunnel_protocol=HBONE, tunnel=15088),
        workload("c", "10.0.0.3", node="n1", tunnel_protocol=HBONE),
    ]
    gate = service("gate", "10.96.0.9")
    assert finish(sets.identity_sets(gate, workloads, HERE))[port_key("gate", 0)] == ends(
        end("10.0.0.1", 15088, "a", LOCAL),
        end("10.0.0.2", 15088, "b", TUNNEL),
        end("10.0.0.3", 15008, "c", LOCAL | TUNNEL),
    )
    assert sets.untunnelled(workloads) == []


def test_identity_sets_have_weights_and_need_a_tunnel() -> None:
    workloads = [
        workload("good", "10.0.0.1", "fd00::1", tunnel=15088, capacity=3),
        workload("plain", "10.0.0.2"),
        workload("small", "10.0.0.3", tunnel=15089),
    ]
    gate = service("gate", "10.96.0.9", balancing=balanced("PASSTHROUGH"))
    assert finish(sets.identity_sets(gate, workloads, HERE)) == {
        port_key("gate", 0): ends(
            end("10.0.0.1", 15088, "good"),
            end("10.0.0.3", 15089, "small", keep=1 << 31, alias=0),
        ),
        port_key("gate", 0, Family.IPV6): ends(end("fd00::1", 15088, "good")),
    }
    problem = f"endpoint {uid_of('plain')} has no application tunnel and doesn't take HBONE"
    assert sets.untunnelled(workloads) == [f"{problem}: it can't be used as a waypoint"]


def test_what_is_left_out_is_said() -> None:
    workloads = [
        workload("a", "10.0.0.1"),
        workload("b", "10.0.0.2", network="far"),
        workload("c", "10.0.0.3", network="away"),
        workload("d", hostname="db.example.org"),
    ]
    assert sets.left_out(workloads, "") == [
        "2 endpoints in other networks (away, far): left out",
        "1 endpoints without an address: left out",
    ]
    assert sets.left_out(workloads[:1], "") == []


def test_a_large_set_is_made_in_steps() -> None:
    count = 4 * STEP
    workloads = [
        Workload(
            uid_of(f"w{n}"), addresses=(n.to_bytes(4, "big"),), services={key_of("web"): ()}
        )
        for n in range(count)
    ]
    steps = sets.service_sets(service("web", "10.96.0.1"), [Family.IPV4], workloads, HERE)
    assert sum(1 for _ in steps) >= 8
    (whole,) = of_service(service("web", "10.96.0.1"), workloads).values()
    assert [e.address for e in endpoints(whole)] == [
        mapped(n.to_bytes(4, "big")) for n in range(count)
    ]
    assert mapped(ip("0.0.0.0")) == endpoints(whole)[0].address
