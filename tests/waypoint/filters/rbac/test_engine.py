from __future__ import annotations

from ipaddress import ip_network

import pytest

from waypoint.filters.chain import Chain, Placed, open_chain
from waypoint.filters.rbac.conditions import (
    All,
    Anything,
    Condition,
    Either,
    Header,
    Identity,
    LocalAddress,
    LocalPort,
    Not,
    Path,
    RemoteAddress,
    ServerName,
)
from waypoint.filters.rbac.engine import Action, Policy, Rbac, Rules, Settings
from waypoint.filters.rbac.templates import PathTemplate
from waypoint.filters.verdicts import PASSED, Asked, Passed, Refusal
from waypoint.messages import Request
from waypoint.routing import NOBODY, Facts
from waypoint.routing.conditions import HeaderMatch
from waypoint.routing.text import Kind, TextMatch

ASKED = Asked(
    Request(b"GET", b"http", b"web", b"/a?b=/c", ((b"x", b"1"),)),
    NOBODY,
    Facts("HTTP/1.1", ("::ffff:10.0.0.1", 1), ("10.96.0.1", 80), "spiffe://d/ns/a/sa/b"),
)
YES, NO = Anything(), Not(Anything())


def rules(action: Action, *held: tuple[str, bool]) -> Rules:
    return Rules(
        action, tuple(Policy(name, (YES,), (YES if holds else NO,)) for name, holds in held)
    )


@pytest.mark.parametrize(
    ("action", "held", "details"),
    [
        (Action.ALLOW, [], "rbac_access_denied_matched_policy[none]"),
        (Action.ALLOW, [("a", False)], "rbac_access_denied_matched_policy[none]"),
        (Action.ALLOW, [("a", False), ("b", True)], ""),
        (Action.DENY, [], ""),
        (Action.DENY, [("a", False)], ""),
        (Action.DENY, [("z z", True), ("b b", True)], "rbac_access_denied_matched_policy[b_b]"),
        (Action.LOG, [("a", True)], ""),
        (Action.LOG, [("a", False)], ""),
    ],
)
def test_actions(action: Action, held: list[tuple[str, bool]], details: str) -> None:
    verdict = Settings(rules(action, *held)).decide(ASKED)
    if details:
        assert isinstance(verdict, Refusal)
        assert (verdict.status, verdict.body) == (403, b"RBAC: access denied")
        assert (verdict.details, verdict.counts) == (details, ("rbac.denied",))
    else:
        assert isinstance(verdict, Passed)


def test_what_is_noted_and_counted() -> None:
    shadow = rules(Action.DENY, ("s", True))
    verdict = Settings(rules(Action.ALLOW, ("e", True)), shadow, "p_", "dry_").decide(ASKED)
    assert isinstance(verdict, Passed)
    assert verdict.notes == {
        "p_enforced_engine_result": "allowed",
        "p_enforced_effective_policy_id": "e",
        "dry_shadow_engine_result": "denied",
        "dry_shadow_effective_policy_id": "s",
    }
    assert verdict.counts == ("rbac.dry_shadow_denied", "rbac.p_allowed")
    verdict = Settings(None, shadow).decide(ASKED)
    assert isinstance(verdict, Passed)
    assert verdict.counts == ("rbac.shadow_denied",)
    assert Settings().decide(ASKED) is PASSED


@pytest.mark.parametrize(("holds", "word"), [(True, "rbac.logged"), (False, "rbac.not_logged")])
def test_audits_are_noted(holds: bool, word: str) -> None:
    verdict = Settings(rules(Action.LOG, ("a", holds))).decide(ASKED)
    assert isinstance(verdict, Passed)
    assert verdict.notes is not None
    assert verdict.notes["access_log_hint"] is holds
    assert verdict.counts == (word,)


HEADER = Header(HeaderMatch("x", TextMatch(Kind.EXACT, "1")))


@pytest.mark.parametrize(
    ("condition", "holds", "reads"),
    [
        (YES, True, False),
        (NO, False, False),
        (All((YES, NO)), False, False),
        (Either((NO, HEADER)), True, False),
        (HEADER, True, False),
        (Path(TextMatch(Kind.EXACT, "/a")), True, False),
        (Path(PathTemplate("/*")), True, False),
        (Path(TextMatch(Kind.SUFFIX, "/c")), False, False),
        (LocalPort(range(80, 81)), True, False),
        (LocalPort(range(81, 90)), False, False),
        (LocalAddress(ip_network("10.96.0.0/16")), True, True),
        (RemoteAddress(ip_network("10.0.0.0/24")), True, True),
        (RemoteAddress(ip_network("::/0")), False, True),
        (Identity(None), True, True),
        (Identity(TextMatch(Kind.SUFFIX, "/sa/b")), True, True),
        (Not(Identity(TextMatch(Kind.SUFFIX, "/sa/b"))), False, True),
        (All((YES, Either((NO, Identity(None))))), True, True),
        (ServerName(TextMatch(Kind.EXACT, "")), True, True),
    ],
)
def test_conditions(condition: Condition, holds: bool, reads: bool) -> None:
    assert condition.holds(ASKED) is holds
    assert condition.reads_connection is reads
    made = Rules(Action.ALLOW, (Policy("p", (condition,), (YES,)),))
    assert Settings(None, made).reads_connection is reads
    assert Rbac("r", Settings(made)).reads_connection is reads


def test_who_is_not_known_is_nobody() -> None:
    unknown = ASKED._replace(facts=Facts())
    for condition in (
        Identity(None),
        Identity(TextMatch(Kind.REGEX, ".*")),
        LocalPort(range(65536)),
        RemoteAddress(ip_network("0.0.0.0/0")),
        LocalAddress(ip_network("0.0.0.0/0")),
    ):
        assert not condition.holds(unknown)


def test_a_routes_settings_take_their_place() -> None:
    found = Rbac("rbac", Settings(rules(Action.DENY, ("a", True))))
    by_identity = Policy("p", (YES,), (Identity(None),))
    own = Settings(Rules(Action.ALLOW, (by_identity,)))
    chain = Chain((Placed(found),))
    assert open_chain(chain, ASKED, {}).refusal is not None
    opening = open_chain(chain, ASKED, {"rbac": own})
    assert opening.refusal is None
    # The route's settings ask who it is, though the filter's don't.
    assert opening.reads_connection
    assert not open_chain(chain, ASKED, {}).reads_connection
