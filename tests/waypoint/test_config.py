from __future__ import annotations

import pytest

from waypoint.config import Config, read_config
from waypoint.errors import ConfigError

GOOD = {
    "POD_NAME": "gate-1",
    "POD_NAMESPACE": "apps",
    "NODE_NAME": "n1",
    "INSTANCE_IP": "10.0.0.1",
    "GATEWAY_NAME": "gate",
    "XDS_ADDRESS": "10.244.255.253:15012",
}


def test_defaults() -> None:
    assert read_config(GOOD) == Config(
        pod_name="gate-1",
        pod_namespace="apps",
        node_name="n1",
        instance_ip="10.0.0.1",
        gateway_name="gate",
        xds_address="10.244.255.253:15012",
    )


def test_everything() -> None:
    more = {"SERVICE_ACCOUNT": "s", "CLUSTER_ID": "c", "L4_MODE": "node", "LOG_LEVEL": "DEBUG"}
    config = read_config(GOOD | more | {"XDS_ADDRESS": "[fd00::1]:15012"})
    assert (config.service_account, config.cluster_id, config.log_level) == ("s", "c", "debug")


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read_config({})
    for name in GOOD:
        assert f"{name} is not set" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("INSTANCE_IP", "x", "no IP address"),
        ("XDS_ADDRESS", "host", "no host:port"),
        ("XDS_ADDRESS", "host:0", "no host:port"),
        ("L4_MODE", "none", "not supported yet"),
        ("L4_MODE", "else", "is not 'node'"),
        ("LOG_LEVEL", "loud", "none of debug"),
    ],
)
def test_faults(name: str, value: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        read_config(GOOD | {name: value})
    assert f"{name}={value!r}" in str(caught.value)
