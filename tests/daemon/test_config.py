from __future__ import annotations

from pathlib import Path

import pytest

from bpf.knobs import Knobs
from daemon.config import read_config
from ztunnel_compat.runtime.errors import ConfigError

FULL = {
    "NODE_NAME": "n1",
    "INSTANCE_IP": "10.244.255.1",
    "POD_NAME": "agent-n1",
    "POD_NAMESPACE": "tandem-system",
    "XDS_ADDRESS": "10.244.255.253:15012",
    "XDS_ROOT_CA": "/run/tandem/t/roots.pem",
    "TOKEN_PATH": "/run/tandem/t/token",
    "ZDS_PATH": "/run/tandem/t/nodes/n1/ztunnel.sock",
    "PIN_DIR": "/sys/fs/bpf/tandem-t/n1",
    "CGROUP_ROOT": "/sys/fs/cgroup/tandem-t/n1",
}


def test_required_settings_and_defaults() -> None:
    config = read_config(FULL)
    assert config.zds_path == Path("/run/tandem/t/nodes/n1/ztunnel.sock")
    assert config.pin_dir == Path("/sys/fs/bpf/tandem-t/n1")
    assert config.cgroup_root == Path("/sys/fs/cgroup/tandem-t/n1")
    assert config.network == ""
    assert config.access_log_rate == 1000
    assert config.probe_cgroup is None
    assert config.cluster_domain == "cluster.local"
    assert config.dns_upstream == ()
    assert config.proxy.node_name == "n1"


def test_optional_settings() -> None:
    config = read_config(FULL | {"NETWORK": "net", "TRUST_DOMAIN": "example.org"})
    assert (config.network, config.trust_domain) == ("net", "example.org")
    settings = {"CLUSTER_DOMAIN": "mesh.test", "DNS_UPSTREAM": "10.96.0.10, fd00::a"}
    config = read_config(FULL | settings)
    assert config.cluster_domain == "mesh.test"
    assert config.dns_upstream == ("10.96.0.10", "fd00::a")


def test_the_ca_is_the_control_plane_unless_said_otherwise() -> None:
    config = read_config(FULL)
    assert (config.ca_address, config.ca_root_ca) == (
        "10.244.255.253:15012",
        Path("/run/tandem/t/roots.pem"),
    )
    config = read_config(FULL | {"CA_ADDRESS": "ca:1", "CA_ROOT_CA": "/ca.pem"})
    assert (config.ca_address, config.ca_root_ca) == ("ca:1", Path("/ca.pem"))
    with pytest.raises(ConfigError, match="CA_ADDRESS='ca' is no host:port"):
        read_config(FULL | {"CA_ADDRESS": "ca"})


def test_whom_certificates_are_for() -> None:
    assert read_config(FULL).trust_domain_aliases == ()
    config = read_config(FULL | {"TRUST_DOMAIN_ALIASES": "old.example, older.example"})
    assert config.trust_domain_aliases == ("old.example", "older.example")
    assert not read_config(FULL).same_node_mtls
    assert read_config(FULL | {"SAME_NODE_MTLS": "true"}).same_node_mtls
    with pytest.raises(ConfigError, match="SAME_NODE_MTLS='yes' is none of"):
        read_config(FULL | {"SAME_NODE_MTLS": "yes"})


def test_sizes_of_maps() -> None:
    assert read_config(FULL).sizes == Knobs()
    sizes = read_config(FULL | {"MAP_SIZES": "endpoints=1000000, flows=500000,"}).sizes
    assert sizes == Knobs(endpoints=1000000, flows=500000)


def test_the_rate_of_the_access_log() -> None:
    assert read_config(FULL | {"ACCESS_LOG_RATE": "0"}).access_log_rate == 0


def test_the_cgroup_of_probes() -> None:
    probes = "/sys/fs/cgroup/kubelet.slice"
    assert read_config(FULL | {"PROBE_CGROUP": probes}).probe_cgroup == Path(probes)


def test_everything_missing_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read_config({})
    for name in FULL:
        assert f"{name} is not set" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DNS_UPSTREAM", "10.0.0.1,dns", "DNS_UPSTREAM: 'dns' is no IP address"),
        ("ZDS_PATH", "ztunnel.sock", "ZDS_PATH='ztunnel.sock' is no absolute path"),
        ("PROBE_CGROUP", "kubelet", "PROBE_CGROUP='kubelet' is no absolute path"),
        ("PIN_DIR", "/sys/fs/bpf/a.b", "the bpf file system allows none"),
        ("MAP_SIZES", "endpoint=5", "MAP_SIZES: 'endpoint' is no map: known are a"),
        ("MAP_SIZES", "endpoints", "MAP_SIZES: endpoints='' is no number"),
        ("MAP_SIZES", "endpoints=-1", "MAP_SIZES: endpoints='-1' is no number"),
        ("MAP_SIZES", "flows=0", "MAP_SIZES: map size flows=0: must be 1 to"),
        ("ACCESS_LOG_RATE", "-1", "ACCESS_LOG_RATE='-1' is no number from 0 to 1000000"),
    ],
)
def test_a_value_that_cannot_be_used(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(FULL | {name: value})
    assert said in str(caught.value)
