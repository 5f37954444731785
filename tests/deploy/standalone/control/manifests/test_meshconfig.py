"""What is read of the mesh's ConfigMap."""

from __future__ import annotations

import pytest

from deploy.standalone.control.extensionapi import AuthzProvider, BodyCheck, MeshConfig
from deploy.standalone.control.problems import Origin
from tests.deploy.standalone.control.helpers import complaints, one, read


def config_map(mesh: str, name: str = "istio", namespace: str = "istio-system") -> str:
    """A ConfigMap; mesh: lines of YAML."""
    inner = "".join(f"    {line}\n" for line in mesh.strip("\n").splitlines())
    return f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}, namespace: {namespace}}}
data:
  mesh: |
{inner}"""


def provider(settings: str, kind: str = "envoyExtAuthzHttp") -> str:
    inner = "".join(f"    {line}\n" for line in settings.strip("\n").splitlines())
    return config_map(f"extensionProviders:\n- name: auth\n  {kind}:\n{inner}")


HERE = Origin("", 0)
GRPC = """
service: shop/auth.shop.svc.cluster.local
port: 9000
"""
FULL = """
service: auth.shop.svc.cluster.local
port: 8000
timeout: 0.5s
failOpen: true
statusOnError: "503"
pathPrefix: /check
includeRequestHeadersInCheck: [x-user, x-ext-*]
includeAdditionalHeadersInCheck: {x-from: gate}
includeRequestBodyInCheck: {maxRequestBytes: 1024, allowPartialMessage: true}
headersToUpstreamOnAllow: [x-user]
headersToDownstreamOnDeny: [x-why]
headersToDownstreamOnAllow: [set-cookie]
clearRouteCache: true
"""


def test_providers() -> None:
    found = one(provider(GRPC, "envoyExtAuthzGrpc"))
    assert isinstance(found, MeshConfig)
    (grpc,) = found.providers
    assert grpc == AuthzProvider(
        "auth", "shop/auth.shop.svc.cluster.local", 9000, http=False, path="", origin=HERE
    )
    full = one(provider(FULL))
    assert isinstance(full, MeshConfig)
    assert full.providers == (
        AuthzProvider(
            "auth",
            "auth.shop.svc.cluster.local",
            8000,
            http=True,
            path="",
            origin=HERE,
            timeout=0.5,
            fail_open=True,
            status=503,
            prefix="/check",
            headers=("x-user", "x-ext-*"),
            add=(("x-from", "gate"),),
            body=BodyCheck(1024, partial=True),
            upstream=("x-user",),
            on_deny=("x-why",),
            on_allow=("set-cookie",),
            reroute=True,
        ),
    )


HTTP = "service: auth.shop.svc.cluster.local\nport: 8000\n"
AT = "data.mesh.extensionProviders[0].envoyExtAuthzHttp"


@pytest.mark.parametrize(
    ("text", "line", "field", "message"),
    [
        (provider(HTTP + "prt: 1"), 12, f"{AT}.prt", "unknown field: did you mean port?"),
        (provider("port: 80"), 10, f"{AT}.service", "missing"),
        (provider(HTTP.replace("port", "x")), 11, f"{AT}.x", "unknown field"),
        (provider("service: auth\nport: 1"), 10, f"{AT}.service", "'auth' is no full host"),
        (provider(HTTP + "statusOnError: '99'"), 12, f"{AT}.statusOnError", "'99' is no HTTP"),
        (provider(HTTP + "pathPrefix: a"), 12, f"{AT}.pathPrefix", "doesn't begin with /"),
        (config_map("enableTracing: true"), 7, "data.mesh.enableTracing", "without effect"),
        (config_map("a: ["), 6, "data.mesh", "not valid YAML"),
        (
            config_map("extensionProviders: [{name: a, zipkin: {service: x, port: 1}}]"),
            7,
            "data.mesh.extensionProviders[0]",
            "without effect",
        ),
        (config_map("a: 1", name="other"), 4, "metadata", "without effect"),
    ],
)
def test_what_is_wrong_or_without_effect_is_told(
    text: str, line: int, field: str, message: str
) -> None:
    found = complaints(text)
    at = [(number, path) for number, path, said in found if message in said]
    assert (line, field) in at, found


def test_a_wrong_one_is_not_used() -> None:
    assert read(provider("port: 80")).documents == ()
    assert len(read(config_map("enableTracing: true")).documents) == 1
    twice = config_map(
        "extensionProviders:\n"
        + "- {name: a, envoyExtAuthzGrpc: {service: a.b, port: 1}}\n" * 2
    )
    assert any("a already" in message for _, _, message in complaints(twice))
