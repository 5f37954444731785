from __future__ import annotations

import random

import pytest
from google.protobuf import any_pb2, empty_pb2

from proto import authorization_pb2 as pb
from tests.support.fuzz import mutate
from tests.ztunnel_compat.policies import PRESENT, cidr, exact, prefix, suffix
from ztunnel_compat.errors import ResourceError
from ztunnel_compat.fields import V4_MAPPED
from ztunnel_compat.policy import (
    Action,
    Match,
    Policy,
    PolicyScope,
    ServiceAccountMatch,
    UnusablePolicy,
)
from ztunnel_compat.policy_decode import decode_policy


def encoded(*matches: pb.Match, **fields: object) -> bytes:
    rules = [pb.Rule(clauses=[pb.Clause(matches=matches)])] if matches else []
    return pb.Authorization(name="p", namespace="ns", rules=rules, **fields).SerializeToString()


def test_every_field():
    match = pb.Match(
        namespaces=[pb.StringMatch(exact="a")],
        not_namespaces=[pb.StringMatch(prefix="b")],
        principals=[pb.StringMatch(suffix="c")],
        not_principals=[pb.StringMatch(presence=empty_pb2.Empty())],
        service_accounts=[pb.ServiceAccountMatch(namespace="n", serviceAccount="s")],
        not_service_accounts=[pb.ServiceAccountMatch(namespace="n", serviceAccount="t")],
        source_ips=[pb.Address(address=bytes([10, 1, 2, 3]), length=8)],
        not_source_ips=[pb.Address(address=bytes(16), length=0)],
        destination_ips=[pb.Address(address=bytes(10) + b"\xff\xff\n\1\2\3", length=120)],
        not_destination_ips=[pb.Address(address=bytes(15) + b"\5", length=128)],
        destination_ports=[80],
        not_destination_ports=[65535],
    )
    value = encoded(match, scope=pb.NAMESPACE, action=pb.DENY, dry_run=True)
    assert decode_policy("ns/p", value) == Policy(
        name="p",
        namespace="ns",
        scope=PolicyScope.NAMESPACE,
        action=Action.DENY,
        dry_run=True,
        rules=(
            (
                (
                    Match(
                        namespaces=(exact("a"),),
                        not_namespaces=(prefix("b"),),
                        principals=(suffix("c"),),
                        not_principals=(PRESENT,),
                        service_accounts=(ServiceAccountMatch("n", "s"),),
                        not_service_accounts=(ServiceAccountMatch("n", "t"),),
                        source_ips=(cidr("10.0.0.0/8"),),
                        not_source_ips=(cidr("::/0"),),
                        destination_ips=(cidr("10.1.2.0/24"),),
                        not_destination_ips=(cidr("::5/128"),),
                        destination_ports=(80,),
                        not_destination_ports=(65535,),
                    ),
                ),
            ),
        ),
    )


def test_defaults_are_istios():
    assert decode_policy("ns/p", encoded()) == Policy(
        "p", "ns", PolicyScope.GLOBAL, Action.ALLOW, (), dry_run=False
    )


@pytest.mark.parametrize(
    ("value", "scope", "reason"),
    [
        (b"\xff\xff", None, "no istio.security.Authorization: "),
        (encoded(scope=3), None, "scope: 3 is none of GLOBAL (0), NAMESPACE (1), "),
        (encoded(scope=1, action=2), 1, "action: 2 is none of ALLOW (0), DENY (1)"),
        (
            encoded(scope=2, extensions=[pb.Extension(name="new", config=any_pb2.Any())]),
            2,
            "extensions: 'new' is unknown",
        ),
        (
            encoded(pb.Match(extensions=[pb.Extension(name="new")])),
            0,
            "rules[0].clauses[0].matches[0].extensions: 'new' is unknown",
        ),
        (
            encoded(pb.Match(not_namespaces=[pb.StringMatch()])),
            0,
            "rules[0].clauses[0].matches[0].not_namespaces: no condition",
        ),
        (
            encoded(pb.Match(not_source_ips=[pb.Address(address=b"\1\2\3", length=8)])),
            0,
            "rules[0].clauses[0].matches[0].not_source_ips: 3 bytes, expected 4 or 16",
        ),
        (
            encoded(pb.Match(source_ips=[pb.Address(address=bytes(4), length=33)])),
            0,
            "source_ips.length: 33 is no prefix of the address",
        ),
        (
            encoded(
                pb.Match(
                    source_ips=[pb.Address(address=V4_MAPPED + bytes(4), length=9)]
                )
            ),
            0,
            "source_ips.length: 9 is no prefix of the address",
        ),
        (
            encoded(pb.Match(destination_ports=[65616])),
            0,
            "destination_ports: 65616 is no port",
        ),
        (encoded() + b"\x98\x06\x01", 0, "fields that this version doesn't know"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_unusable(value, scope, reason):
    decoded = decode_policy("ns/p", value)
    assert isinstance(decoded, UnusablePolicy)
    assert (decoded.key, decoded.scope) == ("ns/p", scope)
    assert reason in decoded.reason


def test_unknown_fields_are_found_at_any_depth():
    inner = pb.Match(destination_ports=[80]).SerializeToString() + b"\x98\x06\x01"
    clause = b"\x0a" + bytes([len(inner)]) + inner
    rule = b"\x0a" + bytes([len(clause)]) + clause
    value = encoded() + b"\x2a" + bytes([len(rule)]) + rule
    decoded = decode_policy("ns/p", value)
    assert isinstance(decoded, UnusablePolicy)
    assert "doesn't know" in decoded.reason


def test_another_name_says_nothing_of_the_scope():
    value = encoded(scope=pb.NAMESPACE)
    decoded = decode_policy("ns/other", value)
    assert decoded == UnusablePolicy("ns/other", None, "policy ns/p under another name")


def fuzz(inputs: int, seed: int) -> None:
    """Whatever comes: a policy, an unusable one, or a ResourceError."""
    rng = random.Random(seed)
    match = pb.Match(
        namespaces=[pb.StringMatch(exact="a"), pb.StringMatch(prefix="b")],
        not_principals=[pb.StringMatch(presence=empty_pb2.Empty())],
        service_accounts=[pb.ServiceAccountMatch(namespace="n", serviceAccount="s")],
        source_ips=[pb.Address(address=bytes([10, 1, 2, 3]), length=8)],
        not_destination_ips=[pb.Address(address=bytes(15) + b"\5", length=128)],
        destination_ports=[80, 443],
    )
    seeds = [encoded(), encoded(match, scope=pb.NAMESPACE, action=pb.DENY, dry_run=True)]
    for _ in range(inputs):
        try:
            found = decode_policy("ns/p", mutate(rng, rng.choice(seeds)))
        except ResourceError:
            continue
        assert isinstance(found, Policy | UnusablePolicy)
        assert found.key == "ns/p"


def test_fuzz() -> None:
    fuzz(3000, 1)


@pytest.mark.soak
def test_fuzz_long() -> None:
    fuzz(200_000, 2)
