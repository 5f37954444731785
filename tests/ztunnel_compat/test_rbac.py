"""Tables after Istio's documentation of AuthorizationPolicy and ztunnel's semantics."""

from __future__ import annotations

import pytest

from tests.ztunnel_compat.policies import (
    PRESENT,
    cidr,
    connection,
    exact,
    policy,
    prefix,
    suffix,
    when,
)
from ztunnel_compat.policy import Action, Match, ServiceAccountMatch
from ztunnel_compat.rbac import (
    Connection,
    Decision,
    Reason,
    Verdict,
    evaluate,
    policy_matches,
)

WEB = "spiffe://cluster.local/ns/app/sa/web"
OTHER = "spiffe://td2/ns/other/sa/default"
NOBODY = None
EVERY = (WEB, OTHER, NOBODY)


@pytest.mark.parametrize(
    ("conditions", "who"),
    [
        ({"namespaces": (exact("app"),)}, {WEB}),
        ({"namespaces": (exact("app"), exact("other"))}, {WEB, OTHER}),
        ({"namespaces": (prefix("ap"),)}, {WEB}),
        ({"namespaces": (suffix("er"),)}, {OTHER}),
        ({"namespaces": (PRESENT,)}, {WEB, OTHER}),
        ({"namespaces": (prefix(""),)}, set(EVERY)),
        ({"not_namespaces": (exact("app"),)}, {OTHER, NOBODY}),
        ({"not_namespaces": (PRESENT,)}, {NOBODY}),
        ({"principals": (exact("cluster.local/ns/app/sa/web"),)}, {WEB}),
        ({"principals": (exact(WEB),)}, set()),
        ({"principals": (prefix("td2/"),)}, {OTHER}),
        ({"principals": (suffix("/sa/default"),)}, {OTHER}),
        ({"principals": (PRESENT,)}, {WEB, OTHER}),
        ({"principals": (prefix(""),)}, {WEB, OTHER}),
        ({"not_principals": (PRESENT,)}, {NOBODY}),
        ({"not_principals": (prefix("td2"),)}, {WEB, NOBODY}),
        ({"service_accounts": (ServiceAccountMatch("app", "web"),)}, {WEB}),
        ({"service_accounts": (ServiceAccountMatch("app", "default"),)}, set()),
        ({"not_service_accounts": (ServiceAccountMatch("app", "web"),)}, {OTHER, NOBODY}),
        (
            {"namespaces": (PRESENT,), "not_principals": (prefix("td2"),)},
            {WEB},
        ),
    ],
)
def test_identities(conditions, who):
    matching = {
        one for one in EVERY if policy_matches(policy("p", when(**conditions)), connection(one))
    }
    assert matching == who


@pytest.mark.parametrize(
    ("conditions", "seen", "expected"),
    [
        ({"source_ips": (cidr("10.0.0.0/24"),)}, {"source": "10.0.0.9"}, True),
        ({"source_ips": (cidr("10.0.0.0/24"),)}, {"source": "10.0.1.9"}, False),
        ({"not_source_ips": (cidr("10.0.0.0/24"),)}, {"source": "10.0.0.9"}, False),
        ({"not_source_ips": (cidr("::/0"),)}, {"source": "10.0.0.9"}, True),
        (
            {"source_ips": (cidr("10.0.0.0/8"),), "not_source_ips": (cidr("10.1.0.0/16"),)},
            {"source": "10.1.0.1"},
            False,
        ),
        ({"destination_ips": (cidr("fd00::/8"),)}, {"destination": "fd00::9"}, True),
        ({"not_destination_ips": (cidr("fd00::/8"),)}, {"destination": "fd00::9"}, False),
        ({"destination_ports": (80, 81)}, {"port": 81}, True),
        ({"destination_ports": (80, 81)}, {"port": 82}, False),
        ({"not_destination_ports": (80, 81)}, {"port": 81}, False),
        ({"not_destination_ports": (80, 81)}, {"port": 82}, True),
        ({"destination_ports": (80,), "namespaces": (exact("other"),)}, {"port": 80}, False),
    ],
)
def test_addresses_and_ports(conditions, seen, expected):
    assert policy_matches(policy("p", when(**conditions)), connection(**seen)) is expected


WEB_ONLY = Match(namespaces=(exact("app"),))
OTHERS_ONLY = Match(namespaces=(exact("other"),))
PORT = Match(destination_ports=(80,))


@pytest.mark.parametrize(
    ("rules", "seen", "expected"),
    [
        ((), connection(), False),
        (((),), connection(), True),
        ((((),),), connection(), True),
        ((((Match(),),),), connection(), False),
        ((((Match(), PORT),),), connection(), True),
        ((((), (Match(),)),), connection(), False),
        ((((WEB_ONLY, OTHERS_ONLY), (PORT,)),), connection(), True),
        ((((WEB_ONLY, OTHERS_ONLY), (PORT,)),), connection(OTHER), True),
        ((((WEB_ONLY, OTHERS_ONLY), (PORT,)),), connection(OTHER, port=81), False),
        ((((WEB_ONLY, OTHERS_ONLY), (PORT,)),), connection(NOBODY), False),
        ((((WEB_ONLY,),), ((OTHERS_ONLY,),)), connection(OTHER), True),
        ((((WEB_ONLY,), (OTHERS_ONLY,)),), connection(OTHER), False),
    ],
    ids=[
        "no rules", "no clauses", "an empty clause", "an empty match",
        "an empty match among others", "an empty match in one clause",
        "one of two matches and a port", "the other", "wrong port", "nobody",
        "rules are alternatives", "clauses aren't",
    ],
)  # fmt: skip
def test_nesting(rules, seen, expected):
    assert policy_matches(policy("p", *rules), seen) is expected


ALLOW_WEB = policy("allow-web", ((WEB_ONLY,),))
ALLOW_NOTHING = policy("allow-nothing")
ALLOW_ALL = policy("z-allow-all", ())
DENY_WEB = policy("deny-web", ((WEB_ONLY,),), action=Action.DENY)
DENY_ALL = policy("deny-all", (), action=Action.DENY)
TRY_DENY = policy("try-deny", ((WEB_ONLY,),), action=Action.DENY, dry_run=True)
TRY_ALLOW = policy("try-allow", ((OTHERS_ONLY,),), dry_run=True)
PASSES = Decision(True, Reason.NO_POLICY)


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ((), Verdict(PASSES)),
        ((ALLOW_WEB,), Verdict(Decision(True, Reason.ALLOWED, "app/allow-web"))),
        ((ALLOW_NOTHING,), Verdict(Decision(False, Reason.NOT_ALLOWED))),
        (
            (ALLOW_NOTHING, ALLOW_ALL),
            Verdict(Decision(True, Reason.ALLOWED, "app/z-allow-all")),
        ),
        ((ALLOW_ALL, DENY_WEB), Verdict(Decision(False, Reason.DENIED, "app/deny-web"))),
        ((DENY_ALL, DENY_WEB), Verdict(Decision(False, Reason.DENIED, "app/deny-all"))),
        ((policy("d", action=Action.DENY),), Verdict(PASSES)),
        ((TRY_DENY,), Verdict(PASSES, Decision(False, Reason.DENIED, "app/try-deny"))),
        ((TRY_ALLOW,), Verdict(PASSES, Decision(False, Reason.NOT_ALLOWED))),
        (
            (ALLOW_NOTHING, TRY_DENY),
            Verdict(
                Decision(False, Reason.NOT_ALLOWED),
                Decision(False, Reason.DENIED, "app/try-deny"),
            ),
        ),
    ],
)
def test_verdicts(policies, expected):
    verdict = evaluate(policies, connection())
    assert verdict == expected
    assert verdict.allowed is expected.enforced.allowed


def test_strict_is_a_deny_of_the_unauthenticated():
    """What istiod makes of PeerAuthentication STRICT."""
    strict = policy("strict", when(not_principals=(PRESENT,)), action=Action.DENY)
    assert evaluate([strict], connection()).allowed
    assert not evaluate([strict], Connection(None, bytes(4), bytes(4), 80)).allowed
