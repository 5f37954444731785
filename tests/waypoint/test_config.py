from __future__ import annotations

import pytest

from waypoint.config import read_config
from ztunnel_compat.runtime.errors import ConfigError

GOOD = {
    "POD_NAME": "gate-1",
    "POD_NAMESPACE": "apps",
    "NODE_NAME": "n1",
    "INSTANCE_IP": "10.0.0.1",
    "GATEWAY_NAME": "gate",
    "XDS_ADDRESS": "10.244.255.253:15012",
}


def test_defaults() -> None:
    config = read_config(GOOD)
    assert (config.gateway_name, config.service_account, config.l4_mode) == (
        "gate", "default", "node",
    )  # fmt: skip
    assert config.proxy.pod_name == "gate-1"


def test_everything() -> None:
    config = read_config(GOOD | {"SERVICE_ACCOUNT": "s", "L4_MODE": "node"})
    assert config.service_account == "s"


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read_config({})
    for name in GOOD:
        assert f"{name} is not set" in str(caught.value)


@pytest.mark.parametrize(("value", "told"), [("none", "not supported"), ("else", "is not")])
def test_modes_that_are_not_there(value: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        read_config(GOOD | {"L4_MODE": value})
    assert f"L4_MODE={value!r}" in str(caught.value)
