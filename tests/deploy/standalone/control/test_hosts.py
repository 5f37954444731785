from __future__ import annotations

from ipaddress import ip_address

from deploy.standalone.control.hosts import VIP_RANGES, allocate_hosts, find, find_hosts
from deploy.standalone.control.objects import IpAddress
from deploy.standalone.control.world import Name
from tests.deploy.standalone.control.helpers import Mesh, entry, service

PORT = "\nports: [{number: 80, name: http}]\n"
DNS = PORT + "resolution: DNS"


def given(*parts: str) -> dict[Name, tuple[IpAddress, ...]]:
    return allocate_hosts(find_hosts(Mesh(*parts).view.world).by_key.values(), {})


def test_a_host_without_addresses_is_given_one_of_each_family() -> None:
    found = given(entry("hosts: [a.example, b.example]" + DNS))
    assert sorted(found) == [("shop", "a.example"), ("shop", "b.example")]
    for addresses in found.values():
        assert [a in r for a, r in zip(addresses, VIP_RANGES, strict=True)] == [True, True]
    assert len({a for addresses in found.values() for a in addresses}) == 4


def test_who_is_given_none() -> None:
    label = "  labels: {networking.istio.io/enable-autoallocate-ip: 'false'}\nspec:"
    for text in (
        entry("hosts: [a.example]" + PORT),
        entry("hosts: [a.example]\naddresses: [10.0.0.1]" + DNS),
        entry("hosts: ['*.example']\nendpoints: [{address: '::1'}]" + DNS),
        entry("hosts: [a.example]" + DNS).replace("spec:", label),
    ):
        assert given(text) == {}


def test_an_address_stays_whatever_else_comes() -> None:
    mesh = Mesh(entry("hosts: [a.example]" + DNS))
    before = mesh.view.carried.vips[("shop", "a.example")]
    mesh.write(
        *(entry(f"hosts: [h{n}.example]" + DNS, name=f"h{n}") for n in range(50)),
        entry("hosts: [a.example]" + DNS),
    )
    assert mesh.view.carried.vips[("shop", "a.example")] == before
    held = {("shop", "a.example"): (ip_address("240.240.9.9"), ip_address("2001:2::9"))}
    assert allocate_hosts(mesh.view.hosts.by_key.values(), held).items() >= held.items()
    mesh.write(service("web"))
    assert mesh.view.carried.vips == {}


def test_a_taken_address_is_stepped_over() -> None:
    network = VIP_RANGES[0]
    first = find(("shop", "a"), network, set())
    second = find(("shop", "a"), network, {first})
    assert second == first + 1
    assert network.network_address < first < network.broadcast_address


def test_one_host_in_two_entries_is_the_firsts() -> None:
    mesh = Mesh(
        entry("hosts: [a.example]" + DNS, name="one"),
        entry("hosts: [a.example, b.example]" + DNS, name="two"),
    )
    assert {k[1]: h.entry.name for k, h in mesh.view.hosts.by_key.items()} == {
        "a.example": "one",
        "b.example": "two",
    }
    assert "spec.hosts: a.example is ServiceEntry one's already" in mesh.messages()


def test_a_service_goes_before_a_host_of_its_name() -> None:
    mesh = Mesh(service("web"), entry("hosts: [web.shop.svc.cluster.local]" + DNS))
    assert not mesh.view.hosts.by_key
    assert "spec.hosts: web.shop.svc.cluster.local is a Service's already" in mesh.messages()
    assert mesh.service("web").ports[0].target_port == 8080


def test_who_stands_for_a_name_in_the_whole_mesh() -> None:
    mesh = Mesh(
        service("web"),
        entry("hosts: [a.example]\nexportTo: [.]" + DNS, name="own", namespace="a"),
        entry("hosts: [a.example]" + DNS, name="first", namespace="b"),
        entry("hosts: [a.example]" + DNS, name="second", namespace="c"),
        entry("hosts: [web.shop.svc.cluster.local]" + DNS, name="over", namespace="c"),
        entry("hosts: [n.example]\nexportTo: ['~']" + DNS, name="none", namespace="c"),
    )
    canonical = {key: host.canonical for key, host in mesh.view.hosts.by_key.items()}
    assert canonical == {
        ("a", "a.example"): False,
        ("b", "a.example"): True,
        ("c", "a.example"): False,
        ("c", "web.shop.svc.cluster.local"): False,
    }
