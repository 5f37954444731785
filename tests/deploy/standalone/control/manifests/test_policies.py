from __future__ import annotations

import pytest

from deploy.standalone.control.istioapi import (
    Action,
    AuthorizationPolicy,
    Condition,
    PolicyRule,
)
from tests.deploy.standalone.control.helpers import complaints, one, policy


def parsed(text: str) -> AuthorizationPolicy:
    found = one(text)
    assert isinstance(found, AuthorizationPolicy)
    return found


def test_a_whole_policy() -> None:
    found = parsed(
        policy(
            "action: DENY\n"
            "selector: {matchLabels: {app: web}}\n"
            "rules:\n"
            "- from: [{source: {principals: ['*'], notNamespaces: [a, b*]}}, "
            "{source: {ipBlocks: [10.0.0.0/8, '::1']}}]\n"
            "  to: [{operation: {ports: ['80'], notMethods: [GET]}}]\n"
            "  when: [{key: source.ip, values: [1.2.3.4]}, "
            "{key: 'request.headers[x]', notValues: [y]}]\n",
            annotations="istio.io/dry-run: 'true'",
        )
    )
    assert (found.action, found.dry_run, found.selector) == (Action.DENY, True, {"app": "web"})
    assert found.rules == (
        PolicyRule(
            sources=(
                {"principals": ("*",), "notNamespaces": ("a", "b*")},
                {"ipBlocks": ("10.0.0.0/8", "::1")},
            ),
            operations=({"ports": ("80",), "notMethods": ("GET",)},),
            conditions=(
                Condition("source.ip", ("1.2.3.4",)),
                Condition("request.headers[x]", (), ("y",)),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("spec", "rules"), [("{}", ()), ("rules: []", ()), ("rules: [{}]", (PolicyRule(),))]
)
def test_nothing_and_everything_are_different(spec: str, rules: tuple[PolicyRule, ...]) -> None:
    assert parsed(policy(spec)).rules == rules


@pytest.mark.parametrize(
    ("spec", "targets"),
    [
        ("targetRefs: [{kind: Service, name: web, group: ''}]", ("Service web",)),
        (
            "targetRef: {kind: Gateway, name: wp, group: gateway.networking.k8s.io}",
            ("Gateway wp",),
        ),
    ],
)
def test_targets(spec: str, targets: tuple[str, ...]) -> None:
    assert tuple(map(str, parsed(policy(spec)).targets)) == targets


def test_custom_names_its_provider() -> None:
    assert parsed(policy("action: CUSTOM\nprovider: {name: x}")).action is Action.CUSTOM


def rule(text: str) -> str:
    return f"rules: [{{{text}}}]"


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ("action: REFUSE", "action", "'REFUSE' is none of ALLOW, DENY, AUDIT, CUSTOM"),
        ("action: CUSTOM", "provider", "goes with action CUSTOM, and only with it"),
        ("provider: {name: x}", "provider", "goes with action CUSTOM, and only with it"),
        (
            "selector: {matchLabels: {app: web}}\ntargetRefs: [{kind: Service, name: a}]",
            "selector",
            "give either selector or targetRefs",
        ),
        ("selector: {matchLabels: {app: 'w*'}}", "selector.matchLabels", "app: w* has a *"),
        ("selector: {matchExpressions: []}", "selector.matchExpressions", "unknown field"),
        (rule("form: []"), "rules[0].form", "unknown field: did you mean from?"),
        (rule("from: [{}]"), "rules[0].from[0].source", "needs one of principals"),
        (rule("to: [{operation: {}}]"), "rules[0].to[0].operation", "needs one of hosts"),
        (
            rule("from: [{source: {principal: [a]}}]"),
            "rules[0].from[0].source.principal",
            "unknown field: did you mean principals?",
        ),
        (
            rule("from: [{source: {namespaces: ['']}}]"),
            "rules[0].from[0].source.namespaces",
            "[0]: must not be empty",
        ),
        (
            rule("from: [{source: {notIpBlocks: [1.2.3.4, 1.2.3]}}]"),
            "rules[0].from[0].source.notIpBlocks",
            "[1]: '1.2.3' is neither an IP address nor a range",
        ),
        (
            rule("from: [{source: {serviceAccounts: ['a/*']}}]"),
            "rules[0].from[0].source.serviceAccounts",
            "[0]: 'a/*' is no service account",
        ),
        (
            rule("from: [{source: {serviceAccounts: [a], namespaces: [b]}}]"),
            "rules[0].from[0].source.serviceAccounts",
            "can't stand beside namespaces",
        ),
        (
            rule("to: [{operation: {ports: ['0']}}]"),
            "rules[0].to[0].operation.ports",
            "[0]: '0' is no port",
        ),
        (
            rule("to: [{operation: {ports: [80]}}]"),
            "rules[0].to[0].operation.ports[0]",
            "expected a text, not the number 80: put it in quotes",
        ),
        (
            rule("when: [{key: source.port}]"),
            "rules[0].when[0].key",
            "'source.port' is none of",
        ),
        (
            rule("when: [{key: source.ip}]"),
            "rules[0].when[0]",
            "needs values or notValues",
        ),
        (
            rule("when: [{key: destination.port, notValues: [x]}]"),
            "rules[0].when[0].notValues",
            "[0]: 'x' is no port",
        ),
    ],
)
def test_what_is_wrong_is_named(spec: str, field: str, message: str) -> None:
    ((_, where, why),) = complaints(policy(spec))
    assert where == f"spec.{field}"
    assert why.startswith(message)


def test_a_dry_run_is_true_or_false() -> None:
    ((_, where, why),) = complaints(policy("{}", annotations="istio.io/dry-run: yes-please"))
    assert where == "metadata.annotations.istio.io/dry-run"
    assert why == "'yes-please' is none of true, false"
