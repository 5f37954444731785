from __future__ import annotations

import pytest

from deploy.standalone.control.tokenapi import JwtRule, RequestAuthentication
from tests.deploy.standalone.control.helpers import istio, one, read
from tests.waypoint.filters.jwt.tokens import jwk, jwks

TARGET = "targetRefs: [{kind: Service, name: web, group: ''}]\n"


def authentication(spec: str, namespace: str = "shop") -> str:
    return istio("security", "RequestAuthentication", "tokens", spec, namespace, "")


def rule(text: str) -> str:
    return authentication(f"{TARGET}jwtRules: [{{{text}}}]")


def told(text: str) -> list[str]:
    return [f"{p.level} {p.field}: {p.message}" for p in read(text).problems]


def test_a_whole_rule() -> None:
    keys = jwks(jwk("rsa", kid="k"))
    found = one(
        authentication(
            f"{TARGET}jwtRules:\n"
            "- issuer: https://i\n"
            "  audiences: [a, b]\n"
            f"  jwks: '{keys}'\n"
            "  fromHeaders: [{name: X-T, prefix: 'T '}]\n"
            "  fromParams: [p]\n"
            "  fromCookies: [c]\n"
            "  outputPayloadToHeader: x-payload\n"
            "  outputClaimToHeaders: [{header: x-sub, claim: a.b}]\n"
            "  forwardOriginalToken: true\n"
            "  timeout: 2s\n"
            "  spaceDelimitedClaims: [roles]\n"
            "- issuer: https://j\n"
        )
    )
    assert isinstance(found, RequestAuthentication)
    assert [str(target) for target in found.targets] == ["Service web"]
    assert found.rules == (
        JwtRule(
            issuer="https://i",
            audiences=("a", "b"),
            jwks=keys,
            headers=(("X-T", "T "),),
            params=("p",),
            cookies=("c",),
            payload_header="x-payload",
            claim_headers=(("x-sub", "a.b"),),
            forward=True,
            timeout=2.0,
            space_delimited=("roles",),
        ),
        JwtRule("https://j"),
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("jwksUri: http://i/", "issuer: missing"),
        ("issuer: i", "jwksUri: missing: 'i' is no address"),
        ("issuer: i, jwksUri: ftp://i", "'ftp://i' is no http:// or https:// address"),
        ("issuer: i, jwksUri: 'http://i:x/'", "is no http:// or https:// address"),
        ("issuer: i, jwks: '{}'", "jwks: can't be used: it does not have [keys] field"),
        ("issuer: i, jwks: x", "jwks: can't be used: it is an invalid JSON"),
        ("issuer: http://i, timeout: 2m", "120 s is more than 60 s"),
        ("issuer: http://i, audiences: ['']", "audiences: [0]: '' is empty"),
        ("issuer: http://i, fromHeaders: [{name: 'a b'}]", "'a b' is no name of a header"),
        ("issuer: http://i, outputPayloadToHeader: Host", "Host says where a request goes"),
        ("issuer: http://i, outputClaimToHeaders: [{header: x}]", "claim: missing"),
        ("issuer: http://i, fromCookie: [a]", "did you mean fromCookies?"),
    ],
)
def test_what_is_wrong_is_named(text: str, named: str) -> None:
    (problem,) = told(rule(text))
    assert problem.startswith("error spec.jwtRules[0]")
    assert named in problem


def test_keys_come_from_one_place() -> None:
    both = rule(f"issuer: i, jwksUri: http://i/, jwks: '{jwks(jwk('rsa'))}'")
    assert "jwks: give either jwks or jwksUri" in told(both)[0]


def test_a_key_that_is_of_no_use_is_told() -> None:
    keys = jwks(jwk("rsa"), {"kty": "oct", "k": "c2VjcmV0"})
    assert "notice spec.jwtRules[0].jwks: without effect: keys[1]" in told(
        rule(f"issuer: i, jwks: '{keys}'")
    )[0]  # fmt: skip


@pytest.mark.parametrize("spec", ["selector: {matchLabels: {app: web}}", "jwtRules: []"])
def test_without_a_target_nobody_looks_at_tokens(spec: str) -> None:
    (notice,) = told(authentication(spec))
    assert notice.startswith("notice spec.")
    assert "without effect: only waypoints look at tokens" in notice


def test_a_selector_stands_alone() -> None:
    (error,) = told(authentication(f"{TARGET}selector: {{matchLabels: {{app: web}}}}"))
    assert "give either selector or targetRefs" in error
