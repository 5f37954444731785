from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from deploy.standalone.control.config import parse
from deploy.standalone.control.errors import ConfigError

GOOD = [
    "--mesh",
    "t",
    "--state-dir",
    "/run/t",
    "--service-cidr4",
    "10.96.0.0/16",
    "--node",
    "a=10.0.0.1,fd00::1",
]


def test_arguments() -> None:
    config = parse([*GOOD, "--node", "b=10.0.0.2", "--file", "/x", "--file", "/y"])
    assert config.nodes == {
        "a": frozenset(map(ip_address, ("10.0.0.1", "fd00::1"))),
        "b": frozenset({ip_address("10.0.0.2")}),
    }
    assert config.members == config.nodes
    found = parse([*GOOD, "--members", "a=10.0.0.9"])
    assert found.members == {"a": found.nodes["a"] | {ip_address("10.0.0.9")}}
    assert config.trust_domain == "cluster.local"
    assert parse([*GOOD, "--trust-domain", "td.example"]).trust_domain == "td.example"
    assert config.access_log == "stdout"
    assert parse([*GOOD, "--access-log", "off"]).access_log == "off"
    assert config.roots == Path("/run/t/roots.pem")
    assert config.files == (Path("/x"), Path("/y"))
    assert config.socket == Path("/run/t/control.sock")
    assert config.own_dir == Path("/run/t/control")
    assert (config.listen, config.ads_port) == ("[::]:15012", "15012")
    assert config.ranges.ipv6 is None
    assert config.resolver_netns is None
    assert parse([*GOOD, "--resolver-netns", "/n"]).resolver_netns == Path("/n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (GOOD[:-2], "--node: name at least one node"),
        (
            [*GOOD, "--node", "a=10.0.0.2"],
            "--node: a=10.0.0.1,fd00::1, a=10.0.0.2: each name may occur once",
        ),
        ([*GOOD, "--members", "b=10.0.0.9"], "--members b=10.0.0.9: there is no --node b"),
        ([*GOOD, "--members", "a=x"], "--members a=x: expected NAME=ADDRESS[,ADDRESS]"),
        ([*GOOD, "--node", "b"], "--node b: expected NAME=ADDRESS[,ADDRESS]"),
        ([*GOOD, "--node", "b=10.0.0"], "--node b=10.0.0: expected NAME=ADDRESS[,ADDRESS]"),
        ([*GOOD, "--trust-domain", "a/b"], "--trust-domain: 'a/b': use lowercase letters"),
        (
            [*GOOD, "--service-cidr6", "10.0.0.0/16"],
            "--service-cidr6: 10.0.0.0/16 is no IPv6Network",
        ),
        (
            [*GOOD, "--service-cidr6", "fd00::1/64"],
            "--service-cidr6: fd00::1/64 has host bits set",
        ),
        ([*GOOD[:4], *GOOD[6:]], "give at least one range"),
    ],
)
def test_what_is_wrong_is_named(arguments: list[str], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(arguments)
    assert reason in str(caught.value)
