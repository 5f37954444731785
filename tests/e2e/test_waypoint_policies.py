"""Attached AuthorizationPolicies: bytes, workloads' own addresses, and live edits."""

from __future__ import annotations

import json

from tests.e2e.manifests import documents, gateway, idle, namespace, pod, service
from tests.support.mesh import MeshHandle, eventually
from tests.waypoint.filters.jwt.tokens import ISSUER, jwk, jwks, token

TELLING = "ambient.istio.io/xfcc-include-client-identity: 'true'"
ACCOUNTS = "".join(
    f"---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: apps\n"
    for name in ("friend", "stranger")
)


def caller(name: str) -> str:
    """A pod with a service account of its own name."""
    return idle(name, "apps").replace("spec:\n", f"spec:\n  serviceAccountName: {name}\n")


def attached(name: str, target: str, spec: str) -> str:
    """A policy with a target; spec: YAML, unindented."""
    indented = "".join(f"  {line}\n" for line in spec.strip().splitlines())
    return (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n"
        f"  name: {name}\n  namespace: apps\nspec:\n  targetRefs:\n  - {target}\n{indented}"
    )


GATEWAY = "{kind: Gateway, group: gateway.networking.k8s.io, name: waypoint}"
FRIENDS = "rules:\n- from:\n  - source:\n      serviceAccounts: [friend]"
MANIFESTS = {
    "apps.yaml": documents(
        namespace("apps", dataplane_mode="ambient", use_waypoint="waypoint"),
        gateway("waypoint", "apps", "all").replace(
            "  labels:\n", f"  annotations:\n    {TELLING}\n  labels:\n"
        ),
        pod("web", "echo.py", "8080", namespace="apps", port=8080),
        service("web", 80, 8080, namespace="apps"),
        pod("greeter", "greeter.py", "2525", namespace="apps", port=2525),
        service("greeter", 25, 2525, namespace="apps", port_name="tcp"),
        caller("friend"),
        caller("stranger"),
    )
    + ACCOUNTS,
    "policy.yaml": attached("friends", GATEWAY, FRIENDS),
}
TOKENS = f"""\
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: apps}}
spec:
  targetRefs: [{GATEWAY}]
  jwtRules: [{{issuer: {ISSUER}, jwks: '{jwks(jwk("rsa"))}'}}]
"""
PLUGIN = f"""\
apiVersion: tandem.io/v1alpha1
kind: PythonFilter
metadata: {{name: closed, namespace: apps}}
spec:
  targetRefs: [{GATEWAY}]
  class: Closed
  code: |
    from tandem.plugins import Filter, Response

    class Closed(Filter):
        def on_request(self, request):
            return Response(451) if request.path == "/closed" else None
"""
CONNECT = """
import socket, sys
try:
    print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).recv(9).decode())
except OSError as error:
    print(type(error).__name__)
"""


def curl(mesh: MeshHandle, name: str, url: str, *options: str) -> tuple[str, str]:
    """The status and body that a pod gets."""
    command = ("curl", "-sS", "-m", "10", "-w", "\\n%{http_code}", *options, url)
    done = mesh.run(name, *command, namespace="apps", check=False)
    body, _, status = done.stdout.rpartition("\n")
    return status, body


def greeted(mesh: MeshHandle, name: str, host: str, port: int) -> str:
    """What a pod hears first, or the error's name."""
    command = ("/usr/bin/python3", "-c", CONNECT, host, str(port))
    return mesh.run(name, *command, namespace="apps").stdout.strip()


def test_requests_by_service_and_by_pod(mesh: MeshHandle) -> None:
    address = mesh.pod("web", "apps")["ips"][0]
    for url in ("http://web.apps/", f"http://{address}:8080/"):
        assert curl(mesh, "friend", url)[0] == "200", url
        assert curl(mesh, "stranger", url) == ("403", "RBAC: access denied"), url


def test_endpoints_are_told_who_asks(mesh: MeshHandle) -> None:
    forged = ("-H", "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/apps/sa/admin")
    address = mesh.pod("web", "apps")["ips"][0]
    for url in ("http://web.apps/", f"http://{address}:8080/"):
        _, body = curl(mesh, "friend", url, *forged)
        assert json.loads(body)["headers"]["x-forwarded-client-cert"] == (
            "By=spiffe://cluster.local/ns/apps/sa/waypoint;"
            "URI=spiffe://cluster.local/ns/apps/sa/friend"
        )


def test_bytes_by_service_and_by_pod(mesh: MeshHandle) -> None:
    address = mesh.pod("greeter", "apps")["ips"][0]
    for host, port in (("greeter.apps", 25), (address, 2525)):
        assert greeted(mesh, "friend", host, port).startswith("220"), host
        assert greeted(mesh, "stranger", host, port) == "ConnectionResetError", host
    assert "rbac_access_denied_matched_policy[none]" in mesh.tandem(
        "logs", "-n", "apps", "waypoint"
    )


def test_an_edit_holds_at_once(mesh: MeshHandle) -> None:
    paths = "action: DENY\nrules:\n- to:\n  - operation:\n      paths: ['/admin*']"
    web = "{kind: Service, group: '', name: web}"
    mesh.write("more.yaml", attached("no-admin", web, paths))
    eventually(
        lambda: curl(mesh, "friend", "http://web.apps/admin")[0] == "403", "the policy's effect"
    )
    assert curl(mesh, "friend", "http://web.apps/")[0] == "200"
    assert curl(mesh, "friend", "http://web.apps/x/%2e%2e/admin", "--path-as-is")[0] == "403"


def test_tokens_and_plugins_are_asked_for_at_pods_own_addresses_too(mesh: MeshHandle) -> None:
    address = mesh.pod("web", "apps")["ips"][0]
    urls = ("http://web.apps", f"http://{address}:8080")
    mesh.write("tokens.yaml", f"{TOKENS}---\n{PLUGIN}")
    eventually(
        lambda: curl(mesh, "friend", f"{urls[0]}/closed")[0] == "451", "the plug-in's effect"
    )
    for url in urls:
        bearer = "Authorization: Bearer "
        assert curl(mesh, "friend", f"{url}/closed")[0] == "451", url
        assert curl(mesh, "friend", f"{url}/")[0] == "200", url
        assert curl(mesh, "friend", f"{url}/", "-H", bearer + token())[0] == "200", url
        forged = curl(mesh, "friend", f"{url}/", "-H", bearer + token(by="other"))
        assert forged == ("401", "Jwt verification fails"), url
        assert curl(mesh, "stranger", f"{url}/", "-H", bearer + token())[0] == "403", url
    assert greeted(mesh, "friend", "greeter.apps", 25).startswith("220")
