"""AuthorizationPolicies as waypoints decide by them: YAML in, verdicts out."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)

from deploy.standalone.control.api.tables import table
from deploy.standalone.control.manifests.gateways import CLIENT_IDENTITY
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    Mesh,
    complaints,
    deployment,
    documents,
    entry,
    policy,
    service,
)
from waypoint.filters.chain import open_chain
from waypoint.filters.decode import decode_chain
from waypoint.filters.kinds import KINDS
from waypoint.filters.verdicts import Asked
from waypoint.layers.request import parse_request
from waypoint.routing import NOBODY, Facts
from waypoint.streams import decode_streams

WEB = "targetRefs: [{kind: Service, name: web}]\n"
JWT = {
    "envoy.filters.http.jwt_authn": {
        "payload": {
            "iss": "https://issuer/x",
            "sub": "anna",
            "aud": ["shop", "web"],
            "azp": "app",
            "groups": ["admin", "dev"],
            "nested": {"team": "blue"},
        }
    }
}
RULE = "ns[shop]-policy[rules]-rule[0]"
PLAIN = "GET / HTTP/1.1"
FRIEND = "spiffe://cluster.local/ns/shop/sa/friend"
MESH_CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    pathNormalization: {{normalization: {}}}
"""
PLAIN_SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: tcp, port: 5432, targetPort: 8080}]
"""


def mesh(*parts: str) -> Mesh:
    return Mesh(AMBIENT, GATEWAY, deployment("web"), service("web"), *parts)


def extensions(made: Mesh, name: str = "web") -> dict[str, Any]:
    """A service's extensions by name."""
    return {each.name: each.config for each in made.service(name).extensions}


def filters(made: Mesh, port: int = 80, name: str = "web") -> bytes:
    host = f"{name}.shop.svc.cluster.local"
    value: bytes = extensions(made, name)[f"inbound-vip|{port}|filters|{host}"].value
    return value


def details(
    value: bytes,
    head: str = "GET / HTTP/1.1",
    identity: str = FRIEND,
    claims: dict[str, Any] | None = None,
) -> str:
    """Why a request is refused, or that it isn't."""
    line, *more = head.split("\n")
    more = more if any(each.startswith("host:") for each in more) else ["host: web", *more]
    request = parse_request("\r\n".join((line, *more, "", "")).encode()).request
    facts = Facts("HTTP/1.1", ("10.1.2.3", 5), ("10.96.0.9", 80), identity)
    asked = Asked(request, NOBODY, facts, claims or {})
    found = open_chain(decode_chain(value, KINDS), asked, {})
    return found.refusal.details if found.refusal is not None else "allowed"


def source(text: str) -> str:
    return f"rules: [{{from: [{{source: {text}}}]}}]"


def operation(text: str) -> str:
    return f"rules: [{{to: [{{operation: {text}}}]}}]"


def when(key: str, values: str) -> str:
    return f"rules: [{{when: [{{key: '{key}', {values}}}]}}]"


#: Rules, and what they match and don't: a request, or an identity, or claims.
MATCHES: list[tuple[str, Any, Any]] = [
    (source("{principals: [cluster.local/ns/shop/sa/friend]}"), FRIEND, f"{FRIEND}s"),
    (source("{principals: ['*']}"), FRIEND, ""),
    (source("{principals: ['*/sa/friend']}"), FRIEND, f"{FRIEND}s"),
    (source("{principals: ['cluster.local/ns/shop/*']}"), FRIEND, FRIEND.replace("shop", "s")),
    (source("{notPrincipals: ['*/sa/friend']}"), "", FRIEND),
    (source("{namespaces: [shop]}"), FRIEND, FRIEND.replace("shop", "shop2")),
    (source("{namespaces: [sh*]}"), FRIEND, FRIEND.replace("shop", "x")),
    (source("{notNamespaces: [shop]}"), FRIEND.replace("shop", "other"), FRIEND),
    (source("{serviceAccounts: [friend]}"), FRIEND, FRIEND.replace("shop", "other")),
    (source("{serviceAccounts: [other/x]}"), "spiffe://d/ns/other/sa/x", FRIEND),
    (source("{notServiceAccounts: [friend]}"), FRIEND + "s", FRIEND),
    (source("{trustDomains: [cluster.local]}"), FRIEND, "spiffe://cluster.local2/ns/a/sa/b"),
    (source("{trustDomains: ['*.local']}"), FRIEND, "spiffe://a.example/ns/a/sa/b.local"),
    (source("{ipBlocks: [10.1.0.0/16], principals: ['*']}"), FRIEND, ""),
    (source("{remoteIpBlocks: [10.1.2.3], principals: ['*']}"), FRIEND, ""),
    (source("{notIpBlocks: [10.2.0.0/16], principals: ['*']}"), FRIEND, ""),
    (source("{requestPrincipals: ['*']}"), JWT, {}),
    (source("{requestPrincipals: ['https://issuer/x/anna']}"), JWT, {}),
    (source("{requestPrincipals: ['https://issuer/x/*']}"), JWT, {}),
    (source("{requestPrincipals: ['*/anna']}"), JWT, {}),
    (source("{notRequestPrincipals: ['*']}"), {}, JWT),
    (operation("{methods: [GET, HEAD]}"), "GET / HTTP/1.1", "POST / HTTP/1.1"),
    (operation("{notMethods: [POST]}"), "GET / HTTP/1.1", "POST / HTTP/1.1"),
    (operation("{paths: [/a]}"), "GET /a?x HTTP/1.1", "GET /a/ HTTP/1.1"),
    (operation("{paths: ['/a*']}"), "GET /ab HTTP/1.1", "GET /b HTTP/1.1"),
    (operation("{paths: ['*.html']}"), "GET /x/i.html HTTP/1.1", "GET /x.htm HTTP/1.1"),
    (operation("{paths: ['/a/{*}/c']}"), "GET /a/b/c HTTP/1.1", "GET /a/b/x/c HTTP/1.1"),
    (operation("{paths: ['/a/{**}']}"), "GET /a/b/c HTTP/1.1", "GET /a HTTP/1.1"),
    (operation("{notPaths: [/a]}"), "GET /b HTTP/1.1", "GET /a HTTP/1.1"),
    (operation("{hosts: [Web.Example]}"), "GET / HTTP/1.1\nhost: web.example", PLAIN),
    (operation("{hosts: ['*.example']}"), "GET / HTTP/1.1\nhost: a.EXAMPLE", "GET / HTTP/1.1"),
    (operation("{notHosts: [a]}"), "GET / HTTP/1.1", "GET / HTTP/1.1\nhost: a"),
    (operation("{ports: ['80'], methods: [GET]}"), "GET / HTTP/1.1", "PUT / HTTP/1.1"),
    (operation("{notPorts: ['81'], methods: [GET]}"), "GET / HTTP/1.1", "PUT / HTTP/1.1"),
    (when("request.headers[x-a]", "values: [v*]"), "GET / HTTP/1.1\nx-a: vw", "GET / HTTP/1.1"),
    (when("request.headers[x-a]", "notValues: [v]"), PLAIN, "GET / HTTP/1.1\nx-a: v"),
    (when("request.auth.principal", "values: ['*']"), JWT, {}),
    (when("request.auth.audiences", "values: [shop]"), JWT, {}),
    (when("request.auth.presenter", "values: [app]"), JWT, {}),
    (when("request.auth.claims[groups]", "values: [x, adm*]"), JWT, {}),
    (when("request.auth.claims[nested][team]", "values: [blue]"), JWT, {}),
    (when("request.auth.claims[sub]", "values: [anna], notValues: [bob]"), JWT, {}),
    (when("source.principal", "values: ['*']"), FRIEND, ""),
    (when("source.namespace", "values: [shop]"), FRIEND, ""),
    (when("source.serviceAccount", "values: [friend]"), FRIEND, ""),
    (when("source.trustDomain", "values: ['*']"), FRIEND, ""),
    (when("destination.port", "values: ['80']").replace("when", "from: [{source: "
     "{principals: ['*']}}], when"), FRIEND, ""),
    (when("destination.ip", "values: [10.96.0.0/16]").replace("when", "from: [{source: "
     "{principals: ['*']}}], when"), FRIEND, ""),
    (when("connection.sni", "notValues: [x]").replace("when", "from: [{source: "
     "{principals: ['*']}}], when"), FRIEND, ""),
    (when("source.ip", "values: [10.1.2.3]").replace("when", "to: [{operation: "
     "{methods: [GET]}}], when"), "GET / HTTP/1.1", "PUT / HTTP/1.1"),
    (when("remote.ip", "notValues: [10.2.2.3]").replace("when", "to: [{operation: "
     "{methods: [GET]}}], when"), "GET / HTTP/1.1", "PUT / HTTP/1.1"),
    (when("experimental.envoy.filters.http.jwt_authn[payload]", "notValues: [x]").replace(
     "when", "to: [{operation: {methods: [GET]}}], when"), "GET / HTTP/1.1", "PUT / HTTP/1.1"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "matching", "other"), MATCHES)
def test_each_field_decides(rules: str, matching: Any, other: Any) -> None:
    for action, words in (
        ("ALLOW", ("allowed", "rbac_access_denied_matched_policy[none]")),
        ("DENY", (f"rbac_access_denied_matched_policy[{RULE}]", "allowed")),
    ):  # fmt: skip
        value = filters(mesh(policy(f"action: {action}\n{WEB}{rules}")))
        for asked, word in zip((matching, other), words, strict=True):
            if isinstance(asked, dict):
                found = details(value, claims=asked)
            elif " HTTP/1.1" in asked:
                found = details(value, asked)
            else:
                found = details(value, identity=asked)
            assert found == word, action


def rbacs(value: bytes) -> list[RBAC]:
    found = []
    for each in HttpConnectionManager.FromString(value).http_filters:
        assert each.name == "envoy.filters.http.rbac"
        found.append(RBAC.FromString(each.typed_config.value))
    return found


def test_denials_go_before_permissions_and_rules_are_joined() -> None:
    made = mesh(
        policy(f"{WEB}rules: [{{}}]", name="all"),
        policy(f"{WEB}{operation('{paths: [/x]}')}", name="more"),
        policy(f"action: AUDIT\n{WEB}rules: [{{}}]", name="watch"),
        policy(f"action: DENY\n{WEB}{operation('{methods: [POST]}')}", name="nope"),
        policy(f"action: DENY\n{WEB}{source('{namespaces: [x]}')}", name="not-x"),
    )
    found = rbacs(filters(made))
    assert [each.rules.action for each in found] == [2, 1, 0]
    assert [len(each.rules.policies) for each in found] == [1, 2, 2]
    value = filters(made)
    assert details(value) == "allowed"
    assert "policy[nope]" in details(value, "POST / HTTP/1.1")
    assert "policy[not-x]" in details(value, identity="spiffe://cluster.local/ns/x/sa/y")


def test_what_is_tried_out_refuses_nothing() -> None:
    dry = "istio.io/dry-run: 'true'"
    made = mesh(policy(f"action: DENY\n{WEB}rules: [{{}}]", annotations=dry))
    (found,) = rbacs(filters(made))
    assert not found.HasField("rules")
    assert found.shadow_rules_stat_prefix == "istio_dry_run_deny_"
    assert details(filters(made)) == "allowed"
    assert row(made)[-1] == "dry run"


def test_no_rules_allow_nothing_and_deny_nothing() -> None:
    assert details(filters(mesh(policy(f"{WEB}")))).endswith("[none]")
    made = mesh(policy(f"action: DENY\n{WEB}"))
    assert details(filters(made)) == "allowed"
    assert "spec.rules: missing: this policy denies nobody" in made.messages()


def row(made: Mesh, name: str = "rules") -> list[str]:
    """A policy's row of `tandem get policies`."""
    (found,) = [each for each in table("policies", made.view)["rows"] if each[1] == name]
    return list(map(str, found))


@pytest.mark.parametrize(
    ("target", "namespace"),
    [
        ("{kind: Service, name: web}", "shop"),
        ("{kind: Gateway, name: waypoint, group: gateway.networking.k8s.io}", "shop"),
        (
            "{kind: GatewayClass, name: tandem-waypoint, group: gateway.networking.k8s.io}",
            "istio-system",
        ),
    ],
)
def test_where_it_is_attached(target: str, namespace: str) -> None:
    made = mesh(policy(f"targetRefs: [{target}]\nrules: [{{}}]", namespace=namespace))
    assert details(filters(made)) == "allowed"
    scope, rules, held, state = row(made)[4:]
    assert (rules, state) == ("1/1", "enforced")
    assert all(word in target for word in scope.split())
    assert held.startswith("Service shop/web")
    assert not made.view.contents.policies
    daemon = made.view.contents.ztunnel["shop/web.shop.svc.cluster.local"]
    assert b"rbac" not in daemon.value


def test_a_service_entry() -> None:
    made = mesh(
        entry(
            "hosts: [out.example]\nresolution: STATIC\n"
            "ports: [{number: 80, name: http, protocol: HTTP}]\n"
            "endpoints: [{address: 10.9.0.1}]"
        ),
        policy(
            "targetRefs: [{kind: ServiceEntry, name: out, group: networking.istio.io}]\n"
            "rules: [{}]"
        ),
    )
    found = made.address("shop/out.example").service.extensions
    assert "inbound-vip|80|filters|out.example" in {each.name for each in found}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("{kind: Service, name: gone}", "there is no Service shop/gone"),
        (
            "{kind: Gateway, name: gone, group: gateway.networking.k8s.io}",
            "there is no Gateway shop/gone",
        ),
    ],
)
def test_what_is_not_there_is_said(target: str, message: str) -> None:
    made = mesh(policy(f"targetRefs: [{target}]\nrules: [{{}}]"))
    assert f"spec.targetRefs[0].name: {message}" in made.messages()
    assert row(made)[-1] == "not in force"


def test_a_service_without_a_waypoint_is_said() -> None:
    plain = AMBIENT.replace(", istio.io/use-waypoint: waypoint", "")
    made = Mesh(plain, deployment("web"), service("web"), policy(f"{WEB}rules: [{{}}]"))
    assert any("no waypoint serves Service shop/web" in each for each in made.messages())
    assert row(made)[-1] == "not in force"
    assert not extensions(made)


def test_policies_of_a_namespace_are_not_for_waypoints() -> None:
    made = mesh(policy("rules: [{}]"))
    assert not extensions(made)
    assert set(made.view.contents.policies) == {"shop/rules"}


def stream_details(value: bytes, identity: str = FRIEND) -> str:
    chain = decode_streams(value).find("", "")
    assert chain is not None
    facts = Facts("", ("10.1.2.3", 5), ("10.96.0.9", 5432), identity)
    refusal, _ = chain.decide(NOBODY, facts)
    return "allowed" if refusal is None else refusal.details


@pytest.mark.parametrize(
    ("action", "rules", "friend", "stranger"),
    [
        ("ALLOW", source("{serviceAccounts: [friend]}"), True, False),
        ("ALLOW", operation("{methods: [GET]}"), False, False),
        ("DENY", source("{serviceAccounts: [friend]}"), False, True),
        ("DENY", operation("{paths: [/x]}"), False, False),
        ("DENY", operation("{paths: [/x], ports: ['1']}"), True, True),
        ("DENY", when("request.headers[x]", "values: [y]"), False, False),
        ("AUDIT", operation("{paths: [/x]}"), True, True),
    ],
)
def test_bytes_know_no_requests(action: str, rules: str, friend: bool, stranger: bool) -> None:
    targets = "targetRefs: [{kind: Service, name: db}]\n"
    made = mesh(PLAIN_SERVICE, policy(f"action: {action}\n{targets}{rules}"))
    found = extensions(made, "db")
    name = "inbound-vip|5432|tcp|db.shop.svc.cluster.local"
    assert set(found) == {name}
    value = found[name].value
    assert (stream_details(value) == "allowed") is friend
    assert (stream_details(value, "spiffe://a/ns/b/sa/c") == "allowed") is stranger
    (chain,) = Listener.FromString(value).filter_chains
    assert chain.filters[-1].name == "envoy.filters.network.tcp_proxy"
    said = [each for each in made.messages() if "which isn't HTTP" in each]
    assert len(said) == ("source" not in rules)


def test_routed_bytes_have_the_filters_in_every_chain() -> None:
    route = """
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: db, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: db}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
"""
    rules = source("{serviceAccounts: [friend]}")
    made = mesh(
        PLAIN_SERVICE, route, policy(f"targetRefs: [{{kind: Service, name: db}}]\n{rules}")
    )
    value = extensions(made, "db")["inbound-vip|5432|tcp|db.shop.svc.cluster.local"].value
    assert stream_details(value) == "allowed"
    assert stream_details(value, "") != "allowed"
    assert decode_streams(value).cluster_names() == {"outbound|80||web.shop.svc.cluster.local"}


def test_a_gateways_policies_hold_for_pods_too() -> None:
    rules = source("{serviceAccounts: [friend]}")
    target = "{kind: Gateway, name: waypoint, group: gateway.networking.k8s.io}"
    made = mesh(policy(f"targetRefs: [{target}]\n{rules}"))
    found = extensions(made, "waypoint")
    assert set(found) == {"inbound-pod|filters", "inbound-pod|tcp"}
    value = found["inbound-pod|filters"].value
    assert (details(value), details(value, identity="") == "allowed") == ("allowed", False)
    assert stream_details(found["inbound-pod|tcp"].value) == "allowed"
    assert stream_details(found["inbound-pod|tcp"].value, "") != "allowed"
    assert "pods of shop/waypoint" in row(made)[6]


def test_endpoints_are_told_who_the_client_is() -> None:
    annotated = GATEWAY.replace(
        "namespace: shop}",
        f"namespace: shop, annotations: {{{CLIENT_IDENTITY}: 'true'}}}}",
    )
    made = Mesh(documents(AMBIENT, annotated), deployment("web"), service("web"))
    for value in (filters(made), extensions(made, "waypoint")["inbound-pod|filters"].value):
        manager = HttpConnectionManager.FromString(value)
        assert manager.forward_client_cert_details == HttpConnectionManager.SANITIZE_SET
        assert manager.set_current_client_cert_details.uri
        assert manager.normalize_path.value
    assert not extensions(mesh())


@pytest.mark.parametrize("path", ["/a{*}", "/{**}/{*}", "{*}", "/a//{*}", "/a/{x}", "/a/*/{*}"])
def test_bad_templates_are_refused(path: str) -> None:
    text = policy(f"{WEB}{operation(f'{{paths: [{path!r}]}}')}")
    assert any("is no template" in each[2] for each in complaints(text))


@pytest.mark.parametrize(
    ("value", "normalize", "merge", "decode"),
    [
        ("NONE", False, False, False),
        ("MERGE_SLASHES", True, True, False),
        ("DECODE_AND_MERGE_SLASHES", True, True, True),
    ],
)
def test_how_paths_are_read(value: str, normalize: bool, merge: bool, decode: bool) -> None:
    made = mesh(MESH_CONFIG.format(value))
    for found in (filters(made), extensions(made, "waypoint")["inbound-pod|filters"].value):
        manager = HttpConnectionManager.FromString(found)
        assert manager.normalize_path.value is normalize
        assert manager.merge_slashes is merge
        wanted = HttpConnectionManager.UNESCAPE_AND_FORWARD if decode else 0
        assert manager.path_with_escaped_slashes_action == wanted


def test_base_needs_no_word() -> None:
    assert not extensions(mesh(MESH_CONFIG.format("BASE")))
    wrong = complaints(MESH_CONFIG.format("SOME"))
    assert "SOME" in wrong[0][2]
