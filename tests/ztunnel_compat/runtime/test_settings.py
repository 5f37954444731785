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
    "XDS_ROOT_CA": "/roots.pem",
    "TOKEN_PATH": "/token",
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
        xds_root_ca=Path("/roots.pem"),
        token_path=Path("/token"),
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


def test_several_addresses() -> None:
    reader = Reader({"DNS": " 10.0.0.1,, fd00::a", "NONE": "", "BAD": "10.0.0.1,dns"})
    assert reader.addresses("DNS") == ("10.0.0.1", "fd00::a")
    assert reader.addresses("NONE") == ()
    assert reader.addresses("UNSET") == ()
    assert reader.faults == []
    reader.addresses("BAD")
    assert reader.faults == ["BAD: 'dns' is no IP address"]


def test_words() -> None:
    reader = Reader({"WORDS": " one,, two"})
    assert (reader.words("WORDS"), reader.words("UNSET")) == (("one", "two"), ())


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
        ("TOKEN_PATH", "token", "TOKEN_PATH='token' is no absolute path"),
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


@pytest.mark.parametrize(("value", "number"), [("", 7), ("0", 0), ("100", 100)])
def test_a_number(value: str, number: int) -> None:
    reader = Reader({"RATE": value})
    assert reader.number("RATE", 7, 100) == number
    assert reader.faults == []


@pytest.mark.parametrize("value", ["-1", "101", "ten", "1.5"])
def test_what_is_no_number_is_named(value: str) -> None:
    reader = Reader({"RATE": value})
    reader.number("RATE", 7, 100)
    assert reader.faults == [f"RATE={value!r} is no number from 0 to 100"]
