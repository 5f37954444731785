"""Which services' ports look at tokens, and how."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb,
)

from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    Mesh,
    deployment,
    entry,
    istio,
    policy,
    service,
)
from tests.waypoint.filters.jwt.tokens import ISSUER, claims, jwk, jwks, token
from tests.waypoint.mesh import ME, NAMESPACE, running
from tests.waypoint.mesh import service as serving
from tests.waypoint.wire import client, upstream
from waypoint.filters.chain import open_chain
from waypoint.filters.decode import decode_chain
from waypoint.filters.kinds import KINDS
from waypoint.filters.verdicts import Asked
from waypoint.messages import Request
from waypoint.routing import NO_FACTS, NOBODY
from ztunnel_compat.model import Extension, Workload
from ztunnel_compat.peer import FLOW_WAYPOINT

KEYS = jwks(jwk("rsa", kid="k"))
WEB = "targetRefs: [{kind: Service, name: web}]\n"
GATE = "targetRefs: [{kind: Gateway, name: waypoint, group: gateway.networking.k8s.io}]\n"
CLASS = (
    "targetRefs: [{kind: GatewayClass, name: tandem-waypoint, "
    "group: gateway.networking.k8s.io}]\n"
)
BY_SERVICE = "inbound-vip|80|filters|web.shop.svc.cluster.local"
BY_POD = "inbound-pod|filters"


def tokens(spec: str, name: str = "tokens", namespace: str = "shop") -> str:
    return istio("security", "RequestAuthentication", name, spec, namespace, "")


def issuer(name: str, more: str = "") -> str:
    return f"jwtRules: [{{issuer: {name}, jwks: '{KEYS}'{more}}}]"


def mesh_of(*parts: str) -> Mesh:
    made = Mesh(AMBIENT, GATEWAY, service("web"), deployment("web"), service("api"), *parts)
    made.report()
    return made


def found(mesh: Mesh, name: str = "web") -> list[Any]:
    """The filter's messages at a service's ports, each taken by the waypoint's decoder."""
    messages = []
    for extension in mesh.service(name).extensions:
        manager = manager_pb.HttpConnectionManager()
        if extension.config.Unpack(manager):
            decode_chain(extension.config.value, KINDS)
            for one in manager.http_filters:
                assert one.name == "envoy.filters.http.jwt_authn"
                message = JwtAuthentication()
                assert one.typed_config.Unpack(message)
                messages.append(message)
    return messages


def test_one_rule_is_optional() -> None:
    mesh = mesh_of(tokens(WEB + issuer("https://i", ", audiences: [a]")))
    (message,) = found(mesh)
    provider = message.providers["origins-0"]
    assert (provider.issuer, list(provider.audiences)) == ("https://i", ["a"])
    assert provider.local_jwks.inline_string == KEYS
    assert provider.payload_in_metadata == "payload"
    assert list(provider.normalize_payload_in_metadata.space_delimited_claims) == [
        "permission", "scope",
    ]  # fmt: skip
    assert not provider.forward
    assert message.bypass_cors_preflight
    (rule,) = message.rules
    kinds = [r.WhichOneof("requires_type") for r in rule.requires.requires_any.requirements]
    assert kinds == ["provider_name", "allow_missing"]
    assert found(mesh, "api") == []


def test_several_objects_count_together_by_issuer() -> None:
    mesh = mesh_of(
        tokens(WEB + issuer("https://z")), tokens(GATE + issuer("https://a"), "others")
    )
    (message,) = found(mesh)
    issuers = {name: message.providers[name].issuer for name in message.providers}
    assert issuers == {"origins-0": "https://a", "origins-1": "https://z"}
    wanted = message.rules[0].requires.requires_any.requirements
    assert [r.provider_name for r in wanted[:2]] == ["origins-0", "origins-1"]
    assert len(wanted[2].requires_all.requirements) == 2
    (alone,) = found(mesh, "api")
    assert alone.providers["origins-0"].issuer == "https://a"


@pytest.mark.parametrize(
    ("rule", "uri", "cluster"),
    [
        ("issuer: i, jwksUri: 'http://api/k?x'", "http://api/k?x", "api"),
        ("issuer: i, jwksUri: 'http://api.shop.svc.cluster.local'", None, "api"),
        ("issuer: i, jwksUri: 'http://api.shop.svc.cluster.local:81'", None, ""),
        ("issuer: i, jwksUri: 'https://api/'", None, ""),
        ("issuer: i, jwksUri: 'https://away.example/keys'", None, ""),
        ("issuer: 'https://i.example/'", "https://i.example/.well-known/openid-configuration",
         ""),
    ],
)  # fmt: skip
def test_where_keys_are_fetched(rule: str, uri: str | None, cluster: str) -> None:
    (message,) = found(mesh_of(tokens(f"{WEB}jwtRules: [{{{rule}, timeout: 1.5s}}]")))
    remote = message.providers["origins-0"].remote_jwks
    assert uri is None or remote.http_uri.uri == uri
    wanted = f"outbound|80||{cluster}.shop.svc.cluster.local" if cluster else ""
    assert remote.http_uri.cluster == wanted
    assert remote.http_uri.timeout.ToMilliseconds() == 1500
    assert remote.cache_duration.seconds == 300


def test_where_tokens_are_and_what_is_made_of_them() -> None:
    more = (
        ", fromHeaders: [{name: x-t, prefix: 'T '}], fromParams: [p], fromCookies: [c], "
        "outputPayloadToHeader: x-p, outputClaimToHeaders: [{header: x-s, claim: sub}], "
        "forwardOriginalToken: true, spaceDelimitedClaims: [roles]"
    )
    (message,) = found(mesh_of(tokens(WEB + issuer("i", more))))
    provider = message.providers["origins-0"]
    (header,) = provider.from_headers
    assert (header.name, header.value_prefix) == ("x-t", "T ")
    assert (list(provider.from_params), list(provider.from_cookies)) == (["p"], ["c"])
    assert provider.forward_payload_header == "x-p"
    (claim,) = provider.claim_to_headers
    assert (claim.header_name, claim.claim_name) == ("x-s", "sub")
    assert provider.forward
    assert "roles" in provider.normalize_payload_in_metadata.space_delimited_claims


def test_an_entry_and_a_class_can_be_meant() -> None:
    out = entry("hosts: [out.example]\nports: [{name: http, number: 80, protocol: HTTP}]\n"
                "resolution: DNS")  # fmt: skip
    target = "targetRefs: [{kind: ServiceEntry, name: out, group: networking.istio.io}]\n"
    mesh = mesh_of(out, tokens(target + issuer("i")))
    (extension,) = mesh.address("shop/out.example").service.extensions
    assert extension.name == "inbound-vip|80|filters|out.example"
    mesh = mesh_of(tokens(CLASS + issuer("i"), namespace="istio-system"))
    assert len(found(mesh)) == len(found(mesh, "api")) == 1


def test_what_is_not_there_is_told() -> None:
    tcp = service("db").replace("name: http", "name: tcp")
    mesh = mesh_of(
        tcp,
        tokens("targetRefs: [{kind: Service, name: gone}]\n" + issuer("i")),
        tokens("targetRefs: [{kind: Service, name: db}]\n" + issuer("i"), "db"),
    )
    assert any("there is no Service shop/gone" in message for message in mesh.messages())
    assert any("Service shop/db has no port that speaks HTTP" in m for m in mesh.messages())
    assert found(mesh, "db") == []
    mesh = mesh_of(tcp, tokens(GATE + issuer("i")))
    assert not any("no port that speaks HTTP" in message for message in mesh.messages())
    assert len(found(mesh)) == 1


def outcome(mesh: Mesh, of: str, name: str, text: str = "") -> str:
    """What becomes of a request with a token, or with none, by the filters of that name."""
    (value,) = [e.config.value for e in mesh.service(of).extensions if e.name == name]
    fields = ((b"authorization", f"Bearer {text}".encode()),) if text else ()
    request = Request(b"GET", b"http", b"web", b"/", fields)
    opened = open_chain(decode_chain(value, KINDS), Asked(request, NOBODY, NO_FACTS), {})
    assert opened.gate is None
    return opened.refusal.body.decode() if opened.refusal is not None else "allowed"


@pytest.mark.parametrize(("target", "namespace"), [(GATE, "shop"), (CLASS, "istio-system")])
@pytest.mark.parametrize(
    ("action", "field"), [("ALLOW", "requestPrincipals"), ("DENY", "notRequestPrincipals")]
)
def test_what_a_gateway_asks_for_is_asked_at_pods_own_addresses_too(
    target: str, namespace: str, action: str, field: str
) -> None:
    principals = f"rules: [{{from: [{{source: {{{field}: ['{ISSUER}/anna']}}}}]}}]"
    mesh = mesh_of(
        tokens(target + issuer(ISSUER), namespace=namespace),
        policy(f"action: {action}\n{target}{principals}", namespace=namespace),
    )
    for of, name in (("web", BY_SERVICE), ("waypoint", BY_POD)):
        assert outcome(mesh, of, name) == "RBAC: access denied"
        assert outcome(mesh, of, name, token(claims(sub="bob"))) == "RBAC: access denied"
        assert outcome(mesh, of, name, token()) == "allowed"
        assert outcome(mesh, of, name, token(by="other")) == "Jwt verification fails"


def test_what_a_service_asks_for_is_not_asked_at_pods_own_addresses() -> None:
    mesh = mesh_of(tokens(WEB + issuer(ISSUER)))
    assert outcome(mesh, "web", BY_SERVICE, "x") != "allowed"
    assert not mesh.service("waypoint").extensions


async def test_nothing_gets_to_a_pod_past_what_its_gateway_asks_for() -> None:
    principals = f"rules: [{{from: [{{source: {{requestPrincipals: ['{ISSUER}/anna']}}}}]}}]"
    mesh = mesh_of(tokens(GATE + issuer(ISSUER)), policy(GATE + principals))
    carried = tuple(
        Extension(each.name, each.config.type_url, each.config.value)
        for each in mesh.service("waypoint").extensions
    )
    assert {each.name for each in carried} == {BY_POD, "inbound-pod|tcp"}
    async with running() as waypoint, upstream() as server:
        here = bytes([127, 0, 0, 1])
        pod = Workload(uid="w", namespace=NAMESPACE, addresses=(here,), waypoint=ME)
        gate = replace(serving("gate", mine=False), ports=(), extensions=carried)
        waypoint.push(gate, pod)
        waypoint.asked = ("w", server.port, FLOW_WAYPOINT)
        async with client(waypoint) as peer:
            assert (await peer.get("/"))[0].startswith(b"http/1.1 403 ")
            bearer = "Authorization: Bearer "
            forged = await peer.get("/", bearer + token(by="other"))
            assert forged[0].startswith(b"http/1.1 401 ")
            assert (await peer.get("/", bearer + token()))[1] == b"hello"
        async with client(waypoint) as peer:
            await peer.send(b"hi there\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                await peer.rest()
        assert len(server.heads) == 1
        assert waypoint.worker.stats.refused == {"not_http": 1}
