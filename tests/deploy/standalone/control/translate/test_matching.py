from __future__ import annotations

import pytest
from google.protobuf.json_format import MessageToDict

from deploy.standalone.control.routing import ClaimMatch, MatchKind, RouteMatch, TextMatch
from deploy.standalone.control.translate.matching import envoy_match
from tests.deploy.standalone.control.helpers import complaints, istio, one
from waypoint.decode.match import route_match
from waypoint.messages import Request
from waypoint.routing import NOBODY

ADMIN = TextMatch(MatchKind.EXACT, "admin")
REQUEST = Request(b"GET", b"http", b"web", b"/", ())


def virtual(match: str) -> str:
    spec = (
        f"hosts: [web]\nhttp: [{{match: [{match}], route: [{{destination: {{host: web}}}}]}}]"
    )
    return istio("networking", "VirtualService", "web", spec, "shop", "")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("@request.auth.claims.groups", ("groups",)),
        ("@request.auth.claims.a.b", ("a", "b")),
        ("@Request.Auth.Claims[a.b][c]", ("a.b", "c")),
    ],
)
def test_claims_are_read(name: str, path: tuple[str, ...]) -> None:
    found = one(virtual(f"{{headers: {{'{name}': {{exact: admin}}}}}}"))
    assert found.http[0].matches[0].claims == (ClaimMatch(path, ADMIN),)  # type: ignore[union-attr]
    found = one(virtual(f"{{withoutHeaders: {{'{name}': {{exact: admin}}}}}}"))
    assert found.http[0].matches[0].claims == (ClaimMatch(path, ADMIN, True),)  # type: ignore[union-attr]


@pytest.mark.parametrize("rest", ["", ".", "x", "[]", ".a..b", "[a"])
def test_claims_without_a_name_are_errors(rest: str) -> None:
    text = virtual(f"{{headers: {{'@request.auth.claims{rest}': {{exact: a}}}}}}")
    assert any("name the claim" in message for _, _, message in complaints(text))


@pytest.mark.parametrize(
    ("claim", "payload", "matches"),
    [
        (ClaimMatch(("groups",), ADMIN), {"groups": "admin"}, True),
        (ClaimMatch(("groups",), ADMIN), {"groups": ["dev", "admin"]}, True),
        (ClaimMatch(("groups",), ADMIN), {"groups": ["dev"]}, False),
        (ClaimMatch(("groups",), ADMIN), {}, False),
        (ClaimMatch(("groups",), ADMIN, inverted=True), {}, True),
        (ClaimMatch(("groups",), ADMIN, inverted=True), {"groups": "admin"}, False),
        (ClaimMatch(("a", "b"), ADMIN), {"a": {"b": "admin"}}, True),
        (ClaimMatch(("a",), TextMatch(MatchKind.PRESENT)), {"a": 5}, True),
        (ClaimMatch(("a",), TextMatch(MatchKind.PRESENT)), {"b": 5}, False),
        (ClaimMatch(("a",), TextMatch(MatchKind.PREFIX, "ad")), {"a": "admin"}, True),
        (ClaimMatch(("a",), TextMatch(MatchKind.REGEX, "a.*n")), {"a": "admin"}, True),
    ],
)
def test_claims_are_matched(
    claim: ClaimMatch, payload: dict[str, object], matches: bool
) -> None:
    """As istiod writes them, and as the waypoint reads them."""
    message = envoy_match(RouteMatch(claims=(claim,)))
    (metadata,) = message.dynamic_metadata
    assert metadata.filter == "envoy.filters.http.jwt_authn"
    assert MessageToDict(metadata)["path"][0] == {"key": "payload"}
    notes = {"envoy.filters.http.jwt_authn": {"payload": payload}}
    found = route_match(message, "")
    assert found.accepts(REQUEST, b"/", b"", NOBODY, 0.0, notes=notes) is matches
