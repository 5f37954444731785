"""Pod addresses."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import pytest

from deploy.standalone.runner.errors import NetworkError
from deploy.standalone.runner.ipam import PodAddresses


def make() -> PodAddresses:
    return PodAddresses(IPv4Network("10.9.1.0/29"), IPv6Network("fd00:9::/64"))


def test_both_families_have_the_same_number() -> None:
    addresses = make()
    assert addresses.take("a") == ("10.9.1.2", "fd00:9::2")
    assert addresses.take("b") == ("10.9.1.3", "fd00:9::3")
    assert addresses.take("a") == ("10.9.1.2", "fd00:9::2")


def test_an_address_comes_back_as_late_as_possible() -> None:
    addresses = make()
    addresses.take("a")
    addresses.give_back("a")
    assert [addresses.take(pod)[0] for pod in "bcdef"] == [
        "10.9.1.3",
        "10.9.1.4",
        "10.9.1.5",
        "10.9.1.6",
        "10.9.1.2",
    ]


def test_all_taken_is_an_error_that_says_so() -> None:
    addresses = make()
    for pod in "abcde":
        addresses.take(pod)
    with pytest.raises(NetworkError, match="all 5 pod addresses"):
        addresses.take("f")
    addresses.give_back("c")
    assert addresses.take("f") == ("10.9.1.4", "fd00:9::4")
