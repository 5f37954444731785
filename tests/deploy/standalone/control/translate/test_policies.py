from __future__ import annotations

from ipaddress import ip_address

import pytest
from google.protobuf import text_format

from deploy.standalone.control.istioapi import AuthorizationPolicy
from deploy.standalone.control.problems import Level
from deploy.standalone.control.translate.policies import translate
from proto import authorization_pb2 as pb
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    Mesh,
    deployment,
    one,
    policy,
)
from ztunnel_compat.policy import Policy
from ztunnel_compat.policy_decode import decode_policy

SOURCE = "rules: [{{from: [{{source: {}}}]}}]"
WHEN = "rules: [{{when: [{}]}}]"


def sent(spec: str, **more: str) -> pb.Authorization:
    found = one(policy(spec, **more))
    assert isinstance(found, AuthorizationPolicy)
    translated = translate(found)
    assert translated.authorization is not None
    return translated.authorization


def expected(text: str) -> pb.Rule:
    return text_format.Parse(text, pb.Rule())


def packed(text: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in ip_address(text).packed)


@pytest.mark.parametrize(
    ("spec", "namespace", "scope"),
    [
        ("{}", "shop", pb.NAMESPACE),
        ("selector: {}", "shop", pb.NAMESPACE),
        ("{}", "istio-system", pb.GLOBAL),
        ("selector: {matchLabels: {app: web}}", "shop", pb.WORKLOAD_SELECTOR),
        ("selector: {matchLabels: {app: web}}", "istio-system", pb.WORKLOAD_SELECTOR),
    ],
)
def test_scope(spec: str, namespace: str, scope: int) -> None:
    found = sent(spec, namespace=namespace)
    assert (found.namespace, found.name, found.scope) == (namespace, "rules", scope)


def test_action_and_dry_run() -> None:
    assert sent("{}").action == pb.ALLOW
    found = sent("action: DENY", annotations="istio.io/dry-run: 'true'")
    assert (found.action, found.dry_run) == (pb.DENY, True)


def test_nothing_and_everything() -> None:
    assert not sent("{}").rules
    assert sent("rules: [{}]").rules == [pb.Rule()]


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        (
            SOURCE.format("{principals: ['*', 'a/*', '*/b', c]}"),
            (
                "principals { presence {} } principals { prefix: 'a/' } "
                "principals { suffix: '/b' } principals { exact: 'c' }"
            ),
        ),
        (SOURCE.format("{notPrincipals: ['*']}"), "not_principals { presence {} }"),
        (
            SOURCE.format("{namespaces: [a], notNamespaces: [b*]}"),
            "namespaces { exact: 'a' } not_namespaces { prefix: 'b' }",
        ),
        (
            SOURCE.format("{serviceAccounts: [own, other/one], notServiceAccounts: [x/y]}"),
            (
                "service_accounts { namespace: 'shop' serviceAccount: 'own' } "
                "service_accounts { namespace: 'other' serviceAccount: 'one' } "
                "not_service_accounts { namespace: 'x' serviceAccount: 'y' }"
            ),
        ),
        (
            SOURCE.format("{ipBlocks: [10.0.0.0/8, '::1'], notIpBlocks: [10.1.2.3]}"),
            (
                f"source_ips {{ address: '{packed('10.0.0.0')}' length: 8 }} "
                f"source_ips {{ address: '{packed('::1')}' length: 128 }} "
                f"not_source_ips {{ address: '{packed('10.1.2.3')}' length: 32 }}"
            ),
        ),
        (
            "rules: [{to: [{operation: {ports: ['80', '443'], notPorts: ['81']}}]}]",
            "destination_ports: 80 destination_ports: 443 not_destination_ports: 81",
        ),
        (
            WHEN.format("{key: source.ip, values: [10.0.0.0/8], notValues: [10.0.0.1]}"),
            (
                f"source_ips {{ address: '{packed('10.0.0.0')}' length: 8 }} "
                f"not_source_ips {{ address: '{packed('10.0.0.1')}' length: 32 }}"
            ),
        ),
        (
            WHEN.format("{key: source.namespace, values: [a], notValues: [b]}"),
            "namespaces { exact: 'a' } not_namespaces { exact: 'b' }",
        ),
        (
            WHEN.format("{key: source.principal, values: ['*/x']}"),
            "principals { suffix: '/x' }",
        ),
        (
            WHEN.format("{key: source.serviceAccount, notValues: [a]}"),
            "not_service_accounts { namespace: 'shop' serviceAccount: 'a' }",
        ),
        (
            WHEN.format("{key: destination.ip, values: [10.0.0.1], notValues: [10.0.0.2]}"),
            (
                f"destination_ips {{ address: '{packed('10.0.0.1')}' length: 32 }} "
                f"not_destination_ips {{ address: '{packed('10.0.0.2')}' length: 32 }}"
            ),
        ),
        (
            WHEN.format("{key: destination.port, values: ['1'], notValues: ['2']}"),
            "destination_ports: 1 not_destination_ports: 2",
        ),
    ],
)
def test_each_field(spec: str, rule: str) -> None:
    for action in ("ALLOW", "DENY"):
        (found,) = sent(f"action: {action}\n{spec}").rules
        assert found == expected(f"clauses {{ matches {{ {rule} }} }}")


def test_the_engines_understand_it() -> None:
    spec = (
        "action: DENY\n"
        "rules: [{from: [{source: {principals: ['*', 'a*'], ipBlocks: ['::/0', 10.0.0.7/8]}}, "
        "{source: {notServiceAccounts: [a/b]}}], to: [{operation: {ports: ['80']}}], "
        "when: [{key: destination.ip, values: [10.0.0.0/8]}]}, {}]"
    )
    for text in (spec, "{}", "rules: [{to: [{operation: {paths: [/x]}}]}]"):
        mesh = Mesh(AMBIENT, policy(text))
        resource = mesh.view.contents.policies["shop/rules"]
        found = decode_policy("shop/rules", resource.value)
        assert isinstance(found, Policy)
        assert len(found.rules) == (2 if text == spec else 0)


def test_a_rules_parts_are_clauses_and_their_items_matches() -> None:
    (found,) = sent(
        "rules: [{from: [{source: {namespaces: [a]}}, {source: {namespaces: [b]}}], "
        "to: [{operation: {ports: ['1']}}, {operation: {ports: ['2']}}], "
        "when: [{key: source.ip, values: ['::']}, {key: destination.port, values: ['3']}]}]"
    ).rules
    assert [len(clause.matches) for clause in found.clauses] == [2, 2, 1, 1]


HTTP = "to: [{operation: {methods: [GET], paths: [/x]}}]"
BOTH = "from: [{source: {namespaces: [a]}}], " + HTTP


@pytest.mark.parametrize(
    ("action", "rule", "rules", "level", "message"),
    [
        ("ALLOW", HTTP, 0, Level.ERROR, "not in force: methods, paths can't be matched at L4"),
        ("ALLOW", BOTH, 0, Level.ERROR, "not in force: methods, paths"),
        ("DENY", HTTP, 1, Level.ERROR, "denies nobody: methods, paths"),
        (
            "DENY",
            "to: [{operation: {methods: [GET], ports: ['80']}}]",
            1,
            Level.NOTICE,
            "denies more than it says: methods",
        ),
        ("DENY", BOTH, 1, Level.ERROR, "denies nobody: methods, paths"),
        (
            "ALLOW",
            "from: [{source: {requestPrincipals: ['*']}}]",
            0,
            Level.ERROR,
            "not in force: requestPrincipals",
        ),
        (
            "ALLOW",
            "when: [{key: 'request.headers[x]', values: [y]}]",
            0,
            Level.ERROR,
            "not in force: request.headers[x]",
        ),
        (
            "DENY",
            "when: [{key: source.trustDomain, values: [y]}]",
            1,
            Level.ERROR,
            "denies nobody: source.trustDomain",
        ),
    ],
)
def test_what_only_http_knows(
    action: str, rule: str, rules: int, level: Level, message: str
) -> None:
    found = one(policy(f"action: {action}\nrules: [{{{rule}}}]"))
    assert isinstance(found, AuthorizationPolicy)
    translated = translate(found)
    assert translated.authorization is not None
    assert len(translated.authorization.rules) == rules
    (problem,) = translated.problems
    assert (problem.level, problem.field) == (level, "spec.rules[0]")
    assert problem.message.startswith(message)


def test_a_denials_l4_part_stays() -> None:
    (found,) = sent(
        "action: DENY\nrules: [{to: [{operation: {methods: [GET], ports: ['80']}}]}]"
    ).rules
    assert found == expected("clauses { matches { destination_ports: 80 } }")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("action: AUDIT", "spec.action"),
        ("action: CUSTOM\nprovider: {name: x}", "spec.action"),
    ],
)
def test_what_is_not_for_l4_is_not_sent_and_said(spec: str, field: str) -> None:
    mesh = Mesh(AMBIENT, policy(spec), deployment("web"))
    mesh.report()
    assert not mesh.view.contents.policies
    (problem,) = [p for p in mesh.view.problems if p.field == field]
    assert problem.level is Level.ERROR
    assert problem.message.startswith("not in force: ")


def test_a_denial_without_rules_is_noticed() -> None:
    assert (
        "spec.rules: missing: this policy denies nobody"
        in Mesh(AMBIENT, policy("action: DENY")).messages()
    )
