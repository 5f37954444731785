from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from ztunnel_compat.runtime.errors import ConfigError
from ztunnel_compat.runtime.settings import ProxySettings, Reader, shown

GOOD = {
    "NODE_NAME": "n1",
    "INSTANCE_IP": "10.244.255.1",
    "POD_NAME": "agent-n1",
    "POD_NAMESPACE": "tandem-system",
    "XDS_ADDRESS": "10.244.255.253:15012",
}


def proxy(environment: dict[str, str]) -> ProxySettings:
    reader = Reader(environment)
    settings = reader.proxy()
    reader.check()
    return settings


def test_required_settings_and_defaults() -> None:
    assert proxy(GOOD) == ProxySettings(
        pod_name="agent-n1",
        pod_namespace="tandem-system",
        node_name="n1",
        instance_ip="10.244.255.1",
        xds_address="10.244.255.253:15012",
        cluster_id="Kubernetes",
        log_level="info",
    )


def test_optional_settings() -> None:
    settings = proxy(GOOD | {"CLUSTER_ID": "c2", "LOG_LEVEL": "DEBUG"})
    assert (settings.cluster_id, settings.log_level) == ("c2", "debug")
    assert proxy(GOOD | {"CLUSTER_ID": ""}).cluster_id == "Kubernetes"


def test_an_ipv6_control_plane() -> None:
    address = "[fd00::1]:15012"
    assert proxy(GOOD | {"XDS_ADDRESS": address}).xds_address == address


def test_everything_missing_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        proxy({})
    for name in GOOD:
        assert f"{name} is not set" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("INSTANCE_IP", "node1", "INSTANCE_IP='node1' is no IP address"),
        ("XDS_ADDRESS", "istiod", "XDS_ADDRESS='istiod' is no host:port"),
        ("XDS_ADDRESS", ":15012", "is no host:port"),
        ("XDS_ADDRESS", "istiod:0", "is no host:port"),
        ("XDS_ADDRESS", "istiod:70000", "is no host:port"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL='loud' is none of debug, info, warn, error"),
    ],
)
def test_a_value_that_cannot_be_used(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        proxy(GOOD | {name: value})
    assert said in str(caught.value)


def test_a_dump_has_one_level_of_texts() -> None:
    @dataclass
    class Config:
        proxy: ProxySettings
        place: Path

    dump = shown(Config(proxy(GOOD), Path("/x")))
    assert dump["node_name"] == "n1"
    assert dump["place"] == "/x"
    assert "proxy" not in dump
