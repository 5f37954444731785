"""What CUSTOM policies make of a service's filters."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as pb,
)

from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    Mesh,
    deployment,
    policy,
    service,
)
from tests.deploy.standalone.control.manifests.test_meshconfig import FULL, GRPC, provider

ROOT = "apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}"
AUTH = service("auth").replace(
    "ports: [{name: http, port: 80, targetPort: 8080}]",
    "ports: [{name: grpc, port: 9000}, {name: http, port: 8000}, {name: tcp, port: 7000}]",
)
BY_GRPC = provider(GRPC, "envoyExtAuthzGrpc")
RULES = "rules: [{to: [{operation: {paths: [/admin]}}]}]"


def custom(more: str = RULES, name: str = "ask", target: str = "", asked: str = "auth") -> str:
    refs = target or "{group: '', kind: Service, name: web}"
    spec = f"action: CUSTOM\nprovider: {{name: {asked}}}\ntargetRefs: [{refs}]\n{more}"
    return policy(spec, name)


def mesh_of(*parts: str) -> Mesh:
    return Mesh(ROOT, AMBIENT, GATEWAY, service("web"), deployment("web"), AUTH, *parts)


def filters(mesh: Mesh, of: str = "web", name: str = "inbound-vip|80|filters|") -> list[Any]:
    manager = pb.HttpConnectionManager()
    for extension in mesh.service(of).extensions:
        if extension.name.startswith(name):
            extension.config.Unpack(manager)
    return list(manager.http_filters)


def asked(mesh: Mesh, **more: str) -> tuple[RBAC, ExtAuthz]:
    """The shadow filter and the one that asks."""
    shadow, asking = filters(mesh, **more)
    rbac, ext_authz = RBAC(), ExtAuthz()
    assert shadow.typed_config.Unpack(rbac)
    assert asking.typed_config.Unpack(ext_authz)
    assert asking.name == "envoy.filters.http.ext_authz"
    return rbac, ext_authz


def errors(mesh: Mesh) -> list[str]:
    return [str(p) for p in mesh.view.problems if p.level == "error"]


def test_rules_say_who_is_asked_about() -> None:
    mesh = mesh_of(BY_GRPC, custom())
    rbac, ext_authz = asked(mesh)
    assert not rbac.HasField("rules")
    name = "istio-ext-authz-auth-ns[shop]-policy[ask]-rule[0]"
    assert list(rbac.shadow_rules.policies) == [name]
    assert rbac.shadow_rules_stat_prefix == "istio_ext_authz_"
    enabled = ext_authz.filter_enabled_metadata
    assert enabled.filter == "envoy.filters.http.rbac"
    assert [each.key for each in enabled.path] == ["istio_ext_authz_shadow_effective_policy_id"]
    assert name.startswith(enabled.value.string_match.prefix)
    assert (
        ext_authz.grpc_service.envoy_grpc.cluster_name
        == "outbound|9000||auth.shop.svc.cluster.local"
    )
    assert ext_authz.grpc_service.timeout.seconds == 600
    assert errors(mesh) == []
    assert filters(mesh, "auth") == []


def test_a_provider_by_http_with_all_that_it_says() -> None:
    mesh = mesh_of(provider(FULL), custom())
    ext_authz = asked(mesh)[1]
    assert ext_authz.failure_mode_allow
    assert ext_authz.clear_route_cache
    assert ext_authz.status_on_error.code == 503
    assert ext_authz.with_request_body.max_request_bytes == 1024
    found = ext_authz.http_service
    assert found.server_uri.cluster == "outbound|8000||auth.shop.svc.cluster.local"
    assert found.path_prefix == "/check"
    assert [p.exact or f"{p.prefix}*" for p in ext_authz.allowed_headers.patterns] == [
        "x-user",
        "x-ext-*",
    ]
    (added,) = found.authorization_request.headers_to_add
    assert (added.key, added.value) == ("x-from", "gate")
    response = found.authorization_response
    assert response.allowed_upstream_headers.patterns[0].exact == "x-user"
    assert response.allowed_client_headers.patterns[0].exact == "x-why"
    assert response.allowed_client_headers_on_success.patterns[0].exact == "set-cookie"


def test_a_gateways_policy_holds_for_its_workloads_too() -> None:
    gateway = "{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}"
    mesh = mesh_of(BY_GRPC, custom(target=gateway))
    asked(mesh)
    asked(mesh, of="waypoint", name="inbound-pod|filters")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((custom(),), "there is no extensionProvider auth in MeshConfig (there: none)"),
        ((BY_GRPC, custom(asked="x")), "no extensionProvider x in MeshConfig (there: auth)"),
        ((BY_GRPC.replace("shop/auth", "shop/gone").replace(" shop/gone", " gone"), custom()),
         "there is no service gone.shop"),
        ((BY_GRPC.replace("9000", "9001"), custom()), "has no port 9001"),
        ((BY_GRPC.replace("9000", "8000"), custom()), "name it grpc"),
        ((provider(FULL).replace("8000", "7000"), custom()), "name it http"),
        ((BY_GRPC, custom(), custom(name="b", asked="x")), "name one provider"),
    ],
)  # fmt: skip
def test_where_nobody_can_be_asked_nobody_gets_in(parts: tuple[str, ...], message: str) -> None:
    mesh = mesh_of(*parts)
    ext_authz = asked(mesh)[1]
    service = ext_authz.grpc_service.envoy_grpc or ext_authz.http_service.server_uri
    name = service.cluster_name or ext_authz.http_service.server_uri.cluster
    assert name == "outbound|1||invalid"
    assert any(message in error for error in errors(mesh)), errors(mesh)


def test_a_policy_without_rules_asks_about_nobody_and_none_is_tried_out() -> None:
    mesh = mesh_of(BY_GRPC, custom(more=""))
    (name,) = asked(mesh)[0].shadow_rules.policies
    assert name.endswith("policy[ask]-rule[0]")
    tried = custom().replace("annotations: {}", 'annotations: {istio.io/dry-run: "true"}')
    mesh = mesh_of(BY_GRPC, tried)
    assert filters(mesh) == []
    assert any("can't be tried out" in message for message in mesh.messages())
