from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from deploy.standalone.control.istioapi import (
    EntryPort,
    Outside,
    Resolution,
    ServiceEntry,
    WorkloadEntry,
)
from deploy.standalone.control.objects import Locality, Visibility
from tests.deploy.standalone.control.helpers import complaints, entry, one, workload_entry

PORT = "ports: [{number: 80, name: http}]\n"
PLAIN = "hosts: [a.example]\n" + PORT
STATIC = PLAIN + "resolution: STATIC\n"
DNS = PLAIN + "resolution: DNS\n"


def parsed(spec: str, **more: str) -> ServiceEntry:
    found = one(entry(spec, **more))
    assert isinstance(found, ServiceEntry)
    return found


def test_a_whole_service_entry() -> None:
    found = parsed(
        "hosts: [Api.Example.com, '*.example.org']\n"
        "addresses: [10.1.2.3, 10.2.0.7/16, 'fd00::/64']\n"
        "ports:\n"
        "- {number: 443, name: tls, protocol: TLS, targetPort: 8443}\n"
        "- {number: 53, name: dns, protocol: udp}\n"
        "location: MESH_INTERNAL\n"
        "resolution: STATIC\n"
        "endpoints:\n"
        "- {address: 10.3.0.1, ports: {tls: 9443}, labels: {v: a}, weight: 5,\n"
        "   locality: eu/a/1, serviceAccount: clerk}\n"
        "- {address: 'fd00::1'}\n"
        "exportTo: [.]\n"
        "subjectAltNames: [spiffe://x]\n",
        annotations="networking.istio.io/traffic-distribution: PreferClose",
    )
    assert found.hosts == ("api.example.com", "*.example.org")
    assert found.addresses == tuple(
        map(ip_network, ("10.1.2.3/32", "10.2.0.0/16", "fd00::/64"))
    )
    assert found.ports == (
        EntryPort("tls", 443, "TLS", 8443),
        EntryPort("dns", 53, "UDP", 53),
    )
    assert found.resolution is Resolution.STATIC
    assert found.endpoints == (
        Outside(
            ip_address("10.3.0.1"),
            {"tls": 9443},
            {"v": "a"},
            5,
            Locality("eu", "a", "1"),
            "",
            "clerk",
        ),
        Outside(ip_address("fd00::1")),
    )
    assert found.visibility is Visibility.NAMESPACE
    assert found.subject_alt_names == ("spiffe://x",)
    assert found.distribution == "PreferClose"


def test_defaults() -> None:
    found = parsed(PLAIN)
    assert (found.resolution, found.visibility) == (Resolution.NONE, Visibility.PUBLIC)
    assert (found.auto_allocate, found.tunnel, found.selector) == (True, False, {})
    assert found.ports == (EntryPort("http", 80, "TCP", 80),)


def test_what_labels_and_annotations_say() -> None:
    for version in ("v1", "v1beta1", "v1alpha3"):
        text = entry(PLAIN, annotations="ambient.istio.io/redirection: enabled").replace(
            "istio.io/v1\n", f"istio.io/{version}\n"
        )
        found = one(text)
        assert isinstance(found, ServiceEntry)
        assert found.tunnel
    label = "  labels: {networking.istio.io/enable-autoallocate-ip: 'false'}\nspec:"
    found = one(entry(PLAIN).replace("spec:", label))
    assert isinstance(found, ServiceEntry)
    assert not found.auto_allocate


def test_endpoints_by_name_or_selected() -> None:
    by_name = parsed(DNS + "endpoints: [{address: B.example}, {address: 10.0.0.1}]")
    assert [e.address for e in by_name.endpoints] == ["b.example", ip_address("10.0.0.1")]
    assert parsed(STATIC + "workloadSelector: {labels: {app: vm}}").selector == {"app": "vm"}
    assert parsed(DNS).endpoints == ()


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        (PORT, "hosts", "missing: give at least one"),
        (PORT + "hosts: [a_b!]", "hosts", "[0]: 'a_b!' is no host name"),
        (PORT + f"hosts: [{'a' * 64}.b]", "hosts", "[0]: 'aaa"),
        (PORT + "hosts: ['*']", "hosts", "[0]: '*' is no host name"),
        (PORT + "hosts: [a.b, A.b]", "hosts", "[1]: A.b is there twice"),
        (
            PORT + "hosts: ['*.b']\nresolution: DNS",
            "hosts",
            "[0]: *.b can't be resolved: give endpoints",
        ),
        (PLAIN + "addresses: [10.0.0]", "addresses", "[0]: '10.0.0' is no IP address"),
        (DNS + "addresses: [10.0.0.0/8]", "addresses", "[0]: a range goes with resolution"),
        ("hosts: [a.b]", "ports", "missing: give at least one port"),
        ("hosts: [a.b]\nports: [{name: a}]", "ports[0].number", "missing"),
        ("hosts: [a.b]\nports: [{number: 1}]", "ports[0].name", "missing"),
        (
            "hosts: [a.b]\nports: [{number: 1, name: a, protocol: FTP}]",
            "ports[0].protocol",
            "'FTP' is none of TCP, HTTP",
        ),
        (
            "hosts: [a.b]\nports: [{number: 1, name: a}, {number: 1, name: b}]",
            "ports",
            "two ports have the number 1",
        ),
        (
            "hosts: [a.b]\nports: [{number: 1, name: a}, {number: 2, name: a}]",
            "ports",
            "two ports have the name a",
        ),
        (PLAIN + "resolution: DYNAMIC_DNS", "resolution", "not supported: DYNAMIC_DNS"),
        (PLAIN + "resolution: FAST", "resolution", "'FAST' is none of NONE, STATIC"),
        (PLAIN + "location: HERE", "location", "'HERE' is none of MESH_EXTERNAL"),
        (PLAIN + "exportTo: [other]", "exportTo", "not supported: other; write . for"),
        (PLAIN + "endpoints: [{address: 10.0.0.1}]", "endpoints", "with resolution NONE"),
        (STATIC, "endpoints", "missing: STATIC needs them, or workloadSelector"),
        (
            STATIC + "endpoints: [{address: a.b}]",
            "endpoints",
            "'a.b' is no IP address; use resolution DNS",
        ),
        (
            STATIC + "endpoints: [{address: '::1'}, {address: '0::1'}]",
            "endpoints",
            "::1 is there twice",
        ),
        (
            STATIC + "endpoints: [{address: '::1'}]\nworkloadSelector: {labels: {a: b}}",
            "workloadSelector",
            "give either endpoints or workloadSelector",
        ),
        (DNS + "endpoints: [{}]", "endpoints[0].address", "missing: an IP address or a host"),
        (DNS + "endpoints: [{address: 'unix:///x'}]", "endpoints[0].address", "not supported"),
        (DNS + "endpoints: [{address: a b}]", "endpoints[0].address", "'a b' is neither an IP"),
        (
            DNS + "endpoints: [{address: '::1', ports: {other: 1}}]",
            "endpoints[0].ports.other",
            "no port of this ServiceEntry is named 'other'",
        ),
        (
            DNS + "endpoints: [{address: '::1', locality: a//c}]",
            "endpoints[0].locality",
            "'a//c': write region",
        ),
        (
            DNS + "endpoints: [{address: '::1', weight: -1}]",
            "endpoints[0].weight",
            "-1 is not from 0",
        ),
        (
            DNS + "endpoints: [{address: '::1', network: far}]",
            "endpoints[0].network",
            "without effect: nothing here leads to network far",
        ),
    ],
)
def test_what_is_wrong_is_named(spec: str, field: str, message: str) -> None:
    ((_, where, why),) = complaints(entry(spec))
    assert where == f"spec.{field}"
    assert why.startswith(message)


def test_a_workload_entry() -> None:
    text = workload_entry(
        "{address: 10.9.0.1, labels: {app: vm, v: a}, weight: 3, serviceAccount: clerk, "
        "ports: {web: 8080}, locality: eu}"
    ).replace("spec:", "  labels: {v: b, networking.istio.io/tunnel: http}\nspec:")
    found = one(text)
    assert isinstance(found, WorkloadEntry)
    assert found.labels == {"app": "vm", "v": "b", "networking.istio.io/tunnel": "http"}
    assert found.tunnel
    assert found.outside.ports == {"web": 8080}
    assert found.outside.locality == Locality("eu")


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ("{address: vm.example}", "address", "'vm.example' is no IP address"),
        ("{weight: 1}", "address", "missing"),
        ("{address: 10.0.0.1, adress: x}", "adress", "unknown field: did you mean address?"),
    ],
)
def test_a_workload_entry_that_is_wrong(spec: str, field: str, message: str) -> None:
    ((_, where, why),) = complaints(workload_entry(spec))
    assert where == f"spec.{field}"
    assert why.startswith(message)
