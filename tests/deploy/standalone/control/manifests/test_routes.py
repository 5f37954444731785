from __future__ import annotations

import pytest

from deploy.standalone.control.gatewayapi import HttpRoute
from tests.deploy.standalone.control.helpers import complaints, one, route

BACKEND = "backendRefs: [{name: web, port: 80}]"


def parsed(rules: str) -> HttpRoute:
    found = one(route(rules))
    assert isinstance(found, HttpRoute)
    return found


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("500ms", 0.5), ("1h30m", 5400), ("0s", 0), ("1m1s1ms", 61.001)],
)
def test_durations(text: str, seconds: float) -> None:
    (rule,) = parsed(f"- timeouts: {{request: {text}}}\n  {BACKEND}").rules
    assert rule.timeout == pytest.approx(seconds)


def test_weights_default_to_one_and_may_be_zero() -> None:
    (rule,) = parsed(
        "- backendRefs: [{name: a, port: 80}, {name: b, port: 80, weight: 0}]"
    ).rules
    assert [backend.weight for backend in rule.backends] == [1, 0]


@pytest.mark.parametrize(
    ("rules", "field", "message"),
    [
        (
            "- filters: [{type: RequestHeaderModifier}]",
            "rules[0].filters[0].requestHeaderModifier",
            "missing: it says what RequestHeaderModifier does",
        ),
        (
            "- filters: [{type: ExtensionRef}]",
            "rules[0].filters[0].type",
            "not supported: ExtensionRef, unknown here: RequestHeaderModifier, ",
        ),
        (
            "- backendRefs: [{name: a, port: 80, filters: [{type: URLRewrite}]}]",
            "rules[0].backendRefs[0].filters[0].type",
            "not supported: URLRewrite, use another: RequestHeaderModifier, Resp",
        ),
        (
            "- timeouts: {request: 1s, backendRequest: 2s}",
            "rules[0].timeouts.backendRequest",
            "is longer than request",
        ),
        (
            "- filters: [{type: RequestRedirect, requestRedirect: {statusCode: 300}}]",
            "rules[0].filters[0].requestRedirect.statusCode",
            "300 is none of 301, 302, 303, 307, 308",
        ),
        (
            (
                "- matches: [{path: {type: Exact, value: /a}}]\n"
                "  filters: [{type: URLRewrite, urlRewrite: {path: "
                "{type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]"
            ),
            "rules[0].filters",
            "ReplacePrefixMatch needs matches of path type PathPrefix",
        ),
        (
            (
                "- filters: [{type: RequestMirror, requestMirror: "
                "{backendRef: {name: a, port: 80}, fraction: {numerator: 3, denominator: 2}}}]"
            ),
            "rules[0].filters[0].requestMirror.fraction.numerator",
            "3 is not from 0 to 2",
        ),
        (
            "- filters: [{type: CORS, cors: {allowOrigins: [shop.example]}}]",
            "rules[0].filters[0].cors.allowOrigins",
            "'shop.example' is no origin",
        ),
        (
            "- sessionPersistence: {idleTimeout: 500ms}",
            "rules[0].sessionPersistence.idleTimeout",
            "'500ms': give whole seconds, from 1s",
        ),
        (
            "- sessionPersistence: {idleTimeout: 1500ms}",
            "rules[0].sessionPersistence.idleTimeout",
            "'1500ms': give whole seconds, from 1s",
        ),
        (
            "- sessionPersistence: {idleTimeout: 0s}",
            "rules[0].sessionPersistence.idleTimeout",
            "'0s': give whole seconds, from 1s",
        ),
        (
            "- sessionPersistence: {type: Header, cookieConfig: {}}",
            "rules[0].sessionPersistence.cookieConfig",
            "goes with type Cookie only",
        ),
        (
            "- sessionPersistence: {absoluteTimeout: 3s}",
            "rules[0].sessionPersistence.absoluteTimeout",
            "goes with a cookie of lifetimeType Permanent only",
        ),
        (
            "- sessionPersistence: {cookieConfig: {lifetimeType: Permanent}}",
            "rules[0].sessionPersistence.absoluteTimeout",
            "missing: a Permanent cookie needs it",
        ),
        (
            "- sessionPersistence: {sessionName: a b}",
            "rules[0].sessionPersistence.sessionName",
            "'a b' can't be the name",
        ),
        (
            "- retry: {codes: [200]}",
            "rules[0].retry.codes",
            "'200' is no status from 400 to 599",
        ),
        ("- timeouts: {request: 1.5s}", "rules[0].timeouts.request", "'1.5s' is no duration"),
        (
            "- backendRefs: [{name: a}]",
            "rules[0].backendRefs[0].port",
            "missing: a Service may",
        ),
        (
            "- backendRefs: [{name: a, port: 80, weight: -1}]",
            "rules[0].backendRefs[0].weight",
            "-1 is not from 0 to 1000000",
        ),
        (
            "- backendRefs: [{name: a, port: 80, kind: Bucket, group: x.y}]",
            "rules[0].backendRefs[0].kind",
            "not supported: Bucket of x.y",
        ),
        (
            "- matches: [{path: {type: RegularExpression, value: '(?=x)'}}]",
            "rules[0].matches[0].path.value",
            "'(?=x)' is no RE2 regular expression: ",
        ),
        (
            "- matches: [{path: {value: v1}}]",
            "rules[0].matches[0].path.value",
            "'v1' must begin",
        ),
        (
            "- matches: [{path: {value: /a/../b}}]",
            "rules[0].matches[0].path.value",
            "'/a/../b' must not",
        ),
        ("- matches: [{method: get}]", "rules[0].matches[0].method", "'get' is none of GET"),
        (
            "- matches: [{headers: [{name: 'a b', value: x}]}]",
            "rules[0].matches[0].headers[0].name",
            "'a b' is no name of a header",
        ),
    ],
)
def test_what_is_wrong_or_not_supported_is_named(rules: str, field: str, message: str) -> None:
    ((_, where, why),) = complaints(route(rules))
    assert where == f"spec.{field}"
    assert why.startswith(message)


def test_only_the_first_header_of_a_name_counts() -> None:
    (rule,) = parsed(
        "- matches: [{headers: [{name: A, value: x}, {name: a, value: y}]}]\n  " + BACKEND
    ).rules
    assert [header.text.value for header in rule.matches[0].headers] == ["x"]


def test_a_gateway_as_parent_is_ignored_with_a_notice() -> None:
    text = route("- " + BACKEND).replace('{group: "", kind: Service, name: web}', "{name: gw}")
    ((_, where, why),) = complaints(text)
    assert where == "spec.parentRefs[0].kind"
    assert why.startswith("without effect: Gateway gw takes no requests")


def test_a_parent_may_be_in_another_namespace() -> None:
    text = route("- " + BACKEND).replace("name: web}]", "name: web, namespace: other}]", 1)
    found = one(text)
    assert isinstance(found, HttpRoute)
    assert [(p.namespace, p.name) for p in found.parents] == [("other", "web")]
