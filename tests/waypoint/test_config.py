from __future__ import annotations

from pathlib import Path

import pytest

from waypoint.config import AccessLog, L4Mode, read_config
from ztunnel_compat.runtime.errors import ConfigError

GOOD = {
    "POD_NAME": "gate-1",
    "POD_NAMESPACE": "apps",
    "NODE_NAME": "n1",
    "INSTANCE_IP": "10.0.0.1",
    "GATEWAY_NAME": "gate",
    "XDS_ADDRESS": "10.244.255.253:15012",
    "XDS_ROOT_CA": "/run/tandem/t/roots.pem",
    "TOKEN_PATH": "/run/tandem/t/token",
}


def test_defaults() -> None:
    config = read_config(GOOD)
    assert (config.gateway_name, config.service_account, config.l4_mode) == (
        "gate", "default", "node",
    )  # fmt: skip
    assert config.proxy.pod_name == "gate-1"
    assert (config.workers, config.memory_share) == (1, 90)


def test_everything() -> None:
    config = read_config(GOOD | {"SERVICE_ACCOUNT": "s", "L4_MODE": "node"})
    assert config.service_account == "s"


def test_the_access_log() -> None:
    assert read_config(GOOD).access_log is AccessLog.STDOUT
    assert read_config(GOOD | {"ACCESS_LOG": "OFF"}).access_log is AccessLog.OFF
    with pytest.raises(ConfigError, match="ACCESS_LOG='file' is none of stdout, off"):
        read_config(GOOD | {"ACCESS_LOG": "file"})


def test_a_worker_is_told_where_its_parent_and_its_buckets_are() -> None:
    config = read_config(GOOD | {"ADMIN_SOCKET": "/run/0.sock", "BUCKETS": "7"})
    assert (config.admin_socket, config.buckets) == (Path("/run/0.sock"), 7)
    assert read_config(GOOD).buckets is None


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read_config({})
    for name in GOOD:
        assert f"{name} is not set" in str(caught.value)


def test_a_waypoint_of_its_own_means() -> None:
    config = read_config(
        GOOD
        | {
            "L4_MODE": "none",
            "SERVICE_ACCOUNT": "s",
            "TRUST_DOMAIN": "td",
            "TRUST_DOMAIN_ALIASES": "old, older",
            "CA_ADDRESS": "ca.example:443",
            "CA_ROOT_CA": "/ca.pem",
            "WORKERS": "4",
        }
    )
    assert config.l4_mode is L4Mode.NONE
    assert str(config.identity) == "spiffe://td/ns/apps/sa/s"
    assert config.trust_domain_aliases == ("old", "older")
    assert (config.authority.address, config.authority.roots) == (
        "ca.example:443", Path("/ca.pem"),
    )  # fmt: skip
    assert config.workers == 4


def test_the_control_plane_is_the_authority_by_default() -> None:
    config = read_config(GOOD)
    assert config.authority.address == config.proxy.xds_address
    assert config.authority.roots == config.proxy.xds_root_ca
    assert (config.workers, config.admin_socket) == (1, None)


def test_modes_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match="L4_MODE='else' is none of node, none, sandwich"):
        read_config(GOOD | {"L4_MODE": "else"})


def test_a_share_of_the_memory() -> None:
    assert read_config(GOOD | {"MEMORY_SHARE": "50"}).memory_share == 50
    with pytest.raises(ConfigError, match="MEMORY_SHARE='101' is no number from 0 to 100"):
        read_config(GOOD | {"MEMORY_SHARE": "101"})
