"""Verdicts and how long they hold. That they are Envoy's is tried in test_filter."""

from __future__ import annotations

from typing import Any

import pytest

from tests.waypoint.filters.jwt.served import NAME, authentication, provider, remote
from tests.waypoint.filters.jwt.tokens import ISSUER, OTHER, token
from waypoint.filters.jwt.decode import build
from waypoint.filters.jwt.filter import JwtFilter
from waypoint.filters.jwt.settings import Override
from waypoint.filters.jwt.work import LONGEST
from waypoint.filters.verdicts import Asked, HeadVerdict, Later, Passed, Refusal
from waypoint.messages import Request
from waypoint.routing import NO_FACTS, NOBODY

NOW = 1_000_000.0
GOOD = {"iss": ISSUER, "sub": "anna", "exp": int(NOW) + 100}


def made(*providers: dict[str, Any], **more: Any) -> JwtFilter:
    value = authentication(*(providers or (provider(),)), **more).SerializeToString()
    found = build(NAME, value, "")
    return JwtFilter(NAME, found.settings, clock=lambda: NOW)


def asked(*tokens: str, path: bytes = b"/", method: bytes = b"GET", **more: Any) -> Asked:
    fields = tuple((b"authorization", f"Bearer {each}".encode()) for each in tokens)
    return Asked(Request(method, b"http", b"web", path, fields), NOBODY, NO_FACTS, **more)


def said(verdict: HeadVerdict) -> str:
    assert isinstance(verdict, Refusal)
    return verdict.body.decode()


@pytest.mark.parametrize(
    ("payload", "more", "outcome", "seconds"),
    [
        (GOOD, {}, "OK", 161),
        (GOOD, {"clock_skew_seconds": 10}, "OK", 111),
        ({"iss": ISSUER}, {}, "OK", LONGEST),
        (GOOD | {"exp": int(NOW) + 10 ** 6}, {}, "OK", LONGEST),
        (GOOD | {"exp": int(NOW) - 60}, {}, "OK", 1),
        (GOOD | {"exp": int(NOW) - 61}, {}, "Jwt is expired", LONGEST),
        (GOOD | {"exp": 0}, {}, "Jwt is expired", LONGEST),
        (GOOD | {"nbf": int(NOW) + 60}, {}, "OK", 161),
        (GOOD | {"nbf": int(NOW) + 61}, {}, "Jwt not yet valid", 1),
        (GOOD | {"nbf": int(NOW) + 90}, {"clock_skew_seconds": 80}, "Jwt not yet valid", 10),
        ({"iss": ISSUER}, {"require_expiration": True}, "Jwt verification fails", LONGEST),
        (GOOD, {"max_lifetime": "50s"}, "Jwt verification fails", 50),
        (GOOD, {"max_lifetime": "101s"}, "OK", 161),
        ({"iss": OTHER}, {}, "Jwt issuer is not configured", LONGEST),
        (GOOD, {"audiences": ["a"]}, "Audiences in Jwt are not allowed", 161),
        (GOOD | {"aud": "https://a/"}, {"audiences": ["http://a"]}, "OK", 161),
    ],
)  # fmt: skip
def test_when_tokens_are_good(
    payload: dict[str, Any], more: dict[str, Any], outcome: str, seconds: float
) -> None:
    verdict = made(provider(**more)).decide(asked(token(payload)))
    assert not isinstance(verdict, Later)
    assert verdict.seconds == seconds
    if outcome == "OK":
        assert isinstance(verdict, Passed)
        assert verdict.notes == {"payload": payload}
        assert verdict.request is not None
        assert verdict.request.fields == ()
    else:
        assert said(verdict) == outcome


def test_refusals() -> None:
    verdict = made().decide(asked(path=b'/a"b\\?' + b"x" * 400))
    assert isinstance(verdict, Refusal)
    assert (verdict.status, verdict.grpc) == (401, None)
    assert verdict.details == "jwt_authn_access_denied{Jwt_is_missing}"
    shown = b"http://web/a%22b%5C?" + b"x" * 250
    assert verdict.fields == ((b"www-authenticate", b'Bearer realm="%b"' % shown),)
    # Without a token nothing depends on keys or time.
    assert verdict.seconds is None
    verdict = made(provider(audiences=["a"])).decide(asked(token(GOOD)))
    assert isinstance(verdict, Refusal)
    assert verdict.status == 403
    assert verdict.fields[0][1].endswith(b', error="invalid_token"')
    verdict = made(strip_failure_response=True).decide(asked())
    assert isinstance(verdict, Refusal)
    assert (verdict.body, verdict.fields) == (b"", ())


def test_every_token_must_be_good() -> None:
    good, bad = token(GOOD), token(GOOD, by="rsa-eve")
    place = {"from_headers": [{"name": "x-a"}, {"name": "x-b"}]}
    found = made(provider(**place))

    def decided(a: str, b: str) -> HeadVerdict:
        fields = ((b"x-a", a.encode()), (b"x-b", b.encode()))
        return found.decide(asked()._replace(request=Request(b"GET", b"", b"", b"/", fields)))

    assert isinstance(decided(good, good), Passed)
    assert said(decided(good, bad)) == "Jwt verification fails"
    assert said(decided(bad, good)) == "Jwt verification fails"


def test_where_nothing_is_needed_a_bad_token_is_not_let_pass_beside_a_good_one() -> None:
    """Envoy does, where the good one is at the place that it looks at last."""
    rule = {"match": {"prefix": "/"}, "requires": {"allow_missing": {}}}
    found = made(rules=[rule])
    assert isinstance(found.decide(asked()), Passed)
    assert isinstance(found.decide(asked(token(GOOD))), Passed)
    query = b"/?access_token=" + token(GOOD, by="rsa-eve").encode()
    assert said(found.decide(asked(token(GOOD), path=query))) == "Jwt verification fails"
    assert said(found.decide(asked(path=query))) == "Jwt verification fails"


def test_headers_are_made_by_good_tokens_only() -> None:
    more = {
        "claim_to_headers": [{"header_name": "X-Sub", "claim_name": "sub"}],
        "clear_route_cache": True,
    }
    found = made(provider(**more))
    request = asked(token(GOOD)).request
    forged = request._replace(fields=(*request.fields, (b"x-sub", b"root")))
    verdict = found.decide(asked()._replace(request=forged))
    assert isinstance(verdict, Passed)
    assert verdict.request is not None
    assert verdict.request.fields == ((b"x-sub", b"anna"),)
    assert verdict.reroute
    evil = asked(token(GOOD | {"sub": "a\r\nx-admin: 1"}))
    verdict = found.decide(evil)
    assert isinstance(verdict, Passed)
    assert verdict.request is not None
    assert verdict.request.fields == ()
    assert "jwt_authn.claim_unfit_for_header" in verdict.counts


def test_a_verified_token_is_known_wherever_its_keys_are() -> None:
    text = token(GOOD)
    assert isinstance(made().decide(asked(text)), Passed)
    held = made().settings.providers[0].slot.held
    assert held.keys is not None
    assert held.keys.recall(text) is not None
    # Known or not, it must be for here and now.
    assert said(made(provider(audiences=["a"])).decide(asked(text))).startswith("Audiences")
    late = JwtFilter(NAME, made().settings, clock=lambda: NOW + 161)
    assert said(late.decide(asked(text))) == "Jwt is expired"
    assert held.keys.recall(token(GOOD, by="rsa-eve")) is None


def test_keys_that_are_on_their_way() -> None:
    found = made(remote("http://i/keys"))
    assert isinstance(found.decide(asked(token(GOOD))), Later)
    assert said(found.decide(asked(token(GOOD | {"exp": 1})))) == "Jwt is expired"
    found.slots[0].held.settled.set()
    verdict = found.decide(asked(token(GOOD)))
    assert said(verdict) == "Jwks remote fetch is failed"
    assert isinstance(verdict, Refusal)
    assert verdict.seconds == 1


def test_routes_name_requirements() -> None:
    found = made(requirement_map={"none": {}, "p0": {"provider_name": "p0"}})
    assert isinstance(found.decide(asked(override=Override("none"))), Passed)
    assert said(found.decide(asked(override=Override("p0")))) == "Jwt is missing"
    verdict = found.decide(asked(override=Override("x")))
    assert isinstance(verdict, Refusal)
    assert verdict.status == 403
    assert verdict.body == (
        b"Failed JWT authentication: Wrong requirement_name: x. It should be one of [none,p0]"
    )


def test_rules_and_preflights() -> None:
    found = made(bypass_cors_preflight=True)
    fields = ((b"origin", b"http://o"), (b"access-control-request-method", b"GET"))
    options = Request(b"OPTIONS", b"http", b"web", b"/", fields)
    assert isinstance(found.decide(asked()._replace(request=options)), Passed)
    plain = options._replace(method=b"GET")
    assert said(found.decide(asked()._replace(request=plain))) == "Jwt is missing"
    bare = options._replace(fields=fields[:1])
    assert said(found.decide(asked()._replace(request=bare))) == "Jwt is missing"
