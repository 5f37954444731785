"""A mesh's names, places and addresses."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest

from deploy.standalone.config import CONTROL, HOST, ConfigError, MeshConfig


def test_addresses_follow_from_the_ranges() -> None:
    config = MeshConfig(nodes=("a", "b"))
    assert str(config.node_cidr4("b")) == "10.244.2.0/24"
    assert str(config.node_cidr6("b")) == "fd00:10:244:2::/64"
    assert str(config.node_address4("b")) == "10.244.255.2"
    assert str(config.node_address6("b")) == "fd00:10:244:ff::2"
    assert str(config.fabric4(CONTROL)) == "10.244.255.253"
    assert str(config.fabric6(HOST)) == "fd00:10:244:ff::fe"
    assert str(config.dns_address4) == "10.96.0.10"
    assert str(config.dns_address6) == "fd00:10:96::a"
    assert config.ads_address == "10.244.255.253:15012"


def test_names_and_places_follow_from_the_name() -> None:
    config = MeshConfig(name="first-light", nodes=("a",))
    assert config.fabric_netns == "first-light"
    assert config.node_netns("a") == "first-light-a"
    pod = config.pod_netns("a", "default", "web")
    assert pod.startswith("first-light-a-")
    assert len(pod) == len("first-light-a-") + 8
    assert pod != config.pod_netns("a", "defaul", "tweb")
    assert config.zds_socket("a") == Path("/run/tandem/first-light/nodes/a/ztunnel.sock")
    assert config.pin_dir("a") == Path("/sys/fs/bpf/tandem-first-light/a")
    cgroup = config.pod_cgroup(Path("/cg"), "a", "default", "web")
    assert cgroup == Path("/cg/tandem-first-light/a/pods/default_web")


def test_interface_names_fit() -> None:
    assert MeshConfig(name="tandem").host_interface == "td-tandem"
    long = MeshConfig(name="a-very-long-mesh-name").host_interface
    assert long.startswith("td-")
    assert len(long) <= 15


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"name": "Tandem"}, "'Tandem'"),
        ({"name": "a.b"}, "'a.b'"),
        ({"name": ""}, "''"),
        ({"nodes": ()}, "0 nodes"),
        ({"nodes": ("a", "a")}, "a, a"),
        ({"nodes": ("a_b",)}, "'a_b'"),
        ({"nodes": tuple(f"n{i}" for i in range(251))}, "251 nodes"),
        ({"pod_cidr4": IPv4Network("10.0.0.0/15")}, "10.0.0.0/15"),
        ({"pod_cidr6": IPv6Network("fd00::/64")}, "fd00::/64"),
        ({"service_cidr4": IPv4Network("10.1.0.0/25")}, "10.1.0.0/25"),
        ({"service_cidr6": IPv6Network("fd00::/120")}, "fd00::/120"),
        ({"service_cidr4": IPv4Network("10.244.3.0/24")}, "overlap"),
        ({"trust_domain": "Example.org"}, "trust domain 'Example.org'"),
    ],
)
def test_what_does_not_fit_is_named(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        MeshConfig(**settings)  # type: ignore[arg-type]
