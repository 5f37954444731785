from __future__ import annotations

from pathlib import Path

import pytest

from daemon.config import Config, read_config
from daemon.errors import ConfigError

FULL = {
    "NODE_NAME": "n1",
    "INSTANCE_IP": "10.244.255.1",
    "POD_NAME": "agent-n1",
    "POD_NAMESPACE": "tandem-system",
    "XDS_ADDRESS": "10.244.255.253:15012",
    "ZDS_PATH": "/run/tandem/t/nodes/n1/ztunnel.sock",
    "PIN_DIR": "/sys/fs/bpf/tandem-t/n1",
    "CGROUP_ROOT": "/sys/fs/cgroup/tandem-t/n1",
}


def test_required_settings_and_defaults() -> None:
    assert read_config(FULL) == Config(
        node_name="n1",
        instance_ip="10.244.255.1",
        pod_name="agent-n1",
        pod_namespace="tandem-system",
        xds_address="10.244.255.253:15012",
        zds_path=Path("/run/tandem/t/nodes/n1/ztunnel.sock"),
        pin_dir=Path("/sys/fs/bpf/tandem-t/n1"),
        cgroup_root=Path("/sys/fs/cgroup/tandem-t/n1"),
        cluster_id="Kubernetes",
        network="",
        log_level="info",
    )


def test_optional_settings() -> None:
    config = read_config(FULL | {"CLUSTER_ID": "c2", "NETWORK": "net", "LOG_LEVEL": "DEBUG"})
    assert (config.cluster_id, config.network, config.log_level) == ("c2", "net", "debug")


def test_everything_missing_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read_config({})
    for name in FULL:
        assert f"{name} is not set" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("INSTANCE_IP", "node1", "INSTANCE_IP='node1' is no IP address"),
        ("XDS_ADDRESS", "istiod", "is no host:port"),
        ("XDS_ADDRESS", ":15012", "is no host:port"),
        ("XDS_ADDRESS", "istiod:0", "is no host:port"),
        ("XDS_ADDRESS", "istiod:70000", "is no host:port"),
        ("ZDS_PATH", "ztunnel.sock", "ZDS_PATH='ztunnel.sock' is no absolute path"),
        ("PIN_DIR", "/sys/fs/bpf/a.b", "the bpf file system allows none"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL='loud' is none of debug, info, warn, error"),
    ],
)
def test_a_value_that_cannot_be_used(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(FULL | {name: value})
    assert said in str(caught.value)


def test_an_ipv6_control_plane() -> None:
    assert (
        read_config(FULL | {"XDS_ADDRESS": "[fd00::1]:15012"}).xds_address == "[fd00::1]:15012"
    )
