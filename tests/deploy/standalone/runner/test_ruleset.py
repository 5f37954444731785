"""The balancer's ruleset, as text."""

from __future__ import annotations

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.ruleset import render, targets
from deploy.standalone.runner.spec import EndpointView, ServicePortView, ServiceView

CONFIG = MeshConfig()


def service(*endpoints: EndpointView, protocol: str = "TCP") -> ServiceView:
    return ServiceView(
        "default",
        "web",
        "web.default.svc.cluster.local",
        vips=("10.96.1.2", "fd00:10:96::2"),
        ports=(ServicePortView("http", 80, protocol), ServicePortView("other", 81)),
        endpoints=endpoints,
    )


def endpoint(number: int, *, ready: bool = True) -> EndpointView:
    ips = (f"10.244.1.{number}", f"fd00:10:244:1::{number}")
    return EndpointView(f"p{number}", ips, ready, {80: 8080})


def test_each_vip_gets_the_ready_endpoints_of_its_family() -> None:
    found = list(targets([service(endpoint(3), endpoint(2), endpoint(4, ready=False))]))
    assert [(t.vip, t.protocol, t.port, t.endpoints) for t in found] == [
        ("10.96.1.2", "tcp", 80, (("10.244.1.2", 8080), ("10.244.1.3", 8080))),
        ("fd00:10:96::2", "tcp", 80, (("fd00:10:244:1::2", 8080), ("fd00:10:244:1::3", 8080))),
    ]


def test_nothing_ready_means_no_target() -> None:
    assert list(targets([service(), service(endpoint(2, ready=False))])) == []


def test_an_address_that_two_share_is_the_firsts() -> None:
    found = list(targets([service(endpoint(2)), service(endpoint(3))]))
    assert [t.endpoints[0][0] for t in found] == ["10.244.1.2", "fd00:10:244:1::2"]


def test_rules_name_the_vip_and_draw_evenly() -> None:
    text = render(CONFIG, "node1", [service(endpoint(2), endpoint(3), protocol="UDP")])
    assert "10.96.1.2 . udp . 80 : goto vip-10_96_1_2-udp-80" in text
    assert (
        "dnat ip to numgen random mod 2 map { 0 : 10.244.1.2 . 8080, 1 : 10.244.1.3 . 8080 }"
    ) in text


def test_the_table_is_replaced_in_one_go() -> None:
    lines = render(CONFIG, "node1", []).splitlines()
    assert lines[:3] == [
        "table inet tandem",
        "delete table inet tandem",
        "table inet tandem {",
    ]


def test_the_same_services_give_the_same_rules_in_any_order() -> None:
    one, other = endpoint(2), endpoint(3)
    assert render(CONFIG, "node1", [service(one, other)]) == render(
        CONFIG, "node1", [service(other, one)]
    )


def test_what_stands_for_a_service_and_leads_nowhere_is_refused() -> None:
    text = render(CONFIG, "node1", [])
    assert "ip daddr { 10.96.0.0/16, 240.240.0.0/16 } goto refused" in text
    assert "ip6 daddr { fd00:10:96::/112, 2001:2::/48 } goto refused" in text
