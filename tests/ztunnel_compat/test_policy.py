from __future__ import annotations

import pytest

from tests.ztunnel_compat.policies import PRESENT, cidr, exact, policy, prefix, suffix
from ztunnel_compat.identity import Identity
from ztunnel_compat.policy import Match, PolicyScope, ServiceAccountMatch, UnusablePolicy


@pytest.mark.parametrize(
    ("match", "text", "expected"),
    [
        (exact("foo"), "foo", True),
        (exact("foo"), "food", False),
        (exact(""), "", True),
        (prefix("foo"), "food", True),
        (prefix("foo"), "afoo", False),
        (prefix(""), "", True),
        (suffix("foo"), "afoo", True),
        (suffix("foo"), "food", False),
        (PRESENT, "a", True),
        (PRESENT, "", False),
    ],
)
def test_strings(match, text, expected):
    assert match.matches(text) is expected


def test_a_service_account_is_of_any_trust_domain():
    match = ServiceAccountMatch("app", "web")
    assert match.matches(Identity("td", "app", "web"))
    assert match.matches(Identity("other", "app", "web"))
    assert not match.matches(Identity("td", "app", "web2"))
    assert not match.matches(Identity("td", "web", "app"))
    assert not match.matches(None)


@pytest.mark.parametrize(
    ("range_", "address", "expected"),
    [
        ("10.1.0.0/16", "10.1.255.255", True),
        ("10.1.0.0/16", "10.2.0.0", False),
        ("0.0.0.0/0", "255.0.0.1", True),
        ("0.0.0.0/0", "::1", False),
        ("::/0", "::1", True),
        ("::/0", "10.0.0.1", False),
        ("fd00::5/128", "fd00::5", True),
        ("fd00::5/128", "fd00::4", False),
    ],
)
def test_ranges(range_, address, expected):
    assert cidr(range_).holds(cidr(address).address) is expected


def test_a_match_without_conditions_is_empty():
    assert Match().empty
    assert not Match(not_destination_ports=(1,)).empty


def test_keys():
    assert policy("deny", namespace="ns").key == "ns/deny"
    assert UnusablePolicy("ns/deny", PolicyScope.GLOBAL, "").namespace == "ns"
