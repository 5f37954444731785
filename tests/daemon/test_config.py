from __future__ import annotations

from pathlib import Path

import pytest

from daemon.config import read_config
from ztunnel_compat.runtime.errors import ConfigError

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
    config = read_config(FULL)
    assert config.zds_path == Path("/run/tandem/t/nodes/n1/ztunnel.sock")
    assert config.pin_dir == Path("/sys/fs/bpf/tandem-t/n1")
    assert config.cgroup_root == Path("/sys/fs/cgroup/tandem-t/n1")
    assert config.network == ""
    assert config.proxy.node_name == "n1"


def test_optional_settings() -> None:
    assert read_config(FULL | {"NETWORK": "net"}).network == "net"


def test_everything_missing_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read_config({})
    for name in FULL:
        assert f"{name} is not set" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ZDS_PATH", "ztunnel.sock", "ZDS_PATH='ztunnel.sock' is no absolute path"),
        ("PIN_DIR", "/sys/fs/bpf/a.b", "the bpf file system allows none"),
    ],
)
def test_a_value_that_cannot_be_used(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(FULL | {name: value})
    assert said in str(caught.value)
