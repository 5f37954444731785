"""Gateway API conformance cases that the mesh suite lacks, by their descriptions, in a mesh.

Of the gateway suite: retries, timeouts, CORS and mirrors; of the mesh suite: gRPC.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from typing import Any

import pytest

from tests.e2e.manifests import documents, gateway, idle, namespace, pod, route, service
from tests.support.mesh import PROGRAMS, MeshHandle, eventually

NS = "conform"
KEYS = itertools.count(1)


def grpc_pod(name: str) -> str:
    """A gRPC server, which needs this interpreter's packages."""
    made = pod(name, "grpc_echo.py", "8080", namespace=NS, port=8080)
    return made.replace("/usr/bin/python3", sys.executable)


def trouble(name: str, port_name: str = "http") -> str:
    """A server that fails as it is told to, and its service."""
    made = pod(name, "trouble.py", "8080", namespace=NS, port=8080)
    return documents(made, service(name, 80, 8080, namespace=NS, port_name=port_name))


def grpc_service(name: str) -> str:
    return service(name, 80, 8080, namespace=NS, port_name="grpc")


MANIFESTS = {
    "mesh.yaml": documents(
        namespace(NS, dataplane_mode="ambient", use_waypoint="waypoint"),
        gateway("waypoint", NS),
        trouble("web"),
        trouble("copy-1", "unknown"),
        pod("greeter", "greeter.py", "2525", namespace=NS, port=2525),
        service("greeter", 2525, 2525, namespace=NS, port_name="unknown"),
        trouble("copy-2"),
        grpc_pod("grpc-v1"),
        grpc_pod("grpc-v2"),
        grpc_service("grpc"),
        grpc_service("grpc-v1"),
        grpc_service("grpc-v2"),
        idle("client", NS),
    ),
    "route.yaml": "",
}


def ask(mesh: MeshHandle, *asks: dict[str, Any], host: str = "web") -> list[dict[str, Any]]:
    """Answers of a service, in order."""
    wanted = [{"host": f"{host}.{NS}", **each} for each in asks]
    program = str(PROGRAMS / "ask.py")
    found = mesh.run("client", "/usr/bin/python3", program, json.dumps(wanted), namespace=NS)
    return [json.loads(line) for line in found.stdout.splitlines()]


def get(mesh: MeshHandle, *paths: str) -> list[tuple[int, int]]:
    """Status, and how often the server was asked, of each path."""
    return [
        (each["status"], each["body"]["attempt"] if isinstance(each["body"], dict) else 0)
        for each in ask(mesh, *({"path": path} for path in paths))
    ]


def apply(mesh: MeshHandle, more: str, filters: str = "") -> None:
    """A route with one rule; more: fields of it, filters: elements, both unindented."""
    mark = f"case-{next(KEYS)}"
    lines = "".join(f"  {line}\n" for line in more.strip().splitlines())
    listed = "".join(f"  {line}\n" for line in filters.strip().splitlines())
    rule = (
        f"- backendRefs:\n  - name: web\n    port: 80\n  filters:\n"
        "  - type: ResponseHeaderModifier\n    responseHeaderModifier:\n"
        f"      set: [{{name: x-case, value: {mark}}}]\n{listed}{lines}"
    )
    mesh.write("route.yaml", route("web", "web", rule, NS))
    eventually(
        lambda: ask(mesh, {"path": "/"})[0]["headers"].get("x-case") == mark,
        "the route counts",
        15,
    )


def key() -> str:
    """A key that nobody had."""
    return f"key-{next(KEYS)}"


def test_retry(mesh: MeshHandle) -> None:
    """Statuses that are listed are asked again for, so many times; others aren't."""
    apply(mesh, "retry: {codes: [500, 503], attempts: 2, backoff: 10ms}")
    assert get(
        mesh,
        f"/fail/{key()}/1/500",
        f"/fail/{key()}/2/503",
        f"/fail/{key()}/3/500",
        f"/fail/{key()}/1/501",
    ) == [(200, 2), (200, 3), (500, 3), (501, 1)]  # fmt: skip


def test_retry_with_timeouts(mesh: MeshHandle) -> None:
    """An attempt that takes too long goes again, all within the request's time."""
    apply(
        mesh,
        "retry: {codes: [500], attempts: 3, backoff: 10ms}\n"
        "timeouts: {request: 900ms, backendRequest: 250ms}",
    )
    assert get(mesh, f"/slow/{key()}/1/2000", f"/fail/{key()}/2/500") == [(200, 2), (200, 3)]
    assert get(mesh, f"/slow/{key()}/9/2000")[0][0] == 504


def test_retry_connection_error(mesh: MeshHandle) -> None:
    """A connection that ends before an answer is a reason to ask again."""
    apply(mesh, "retry: {attempts: 2, backoff: 10ms}")
    assert get(mesh, f"/drop/{key()}/1", f"/drop/{key()}/2") == [(200, 2), (200, 3)]
    assert get(mesh, f"/drop/{key()}/9")[0][0] == 503


@pytest.mark.parametrize("which", ["request", "backendRequest"])
def test_timeout(mesh: MeshHandle, which: str) -> None:
    apply(mesh, f"timeouts: {{{which}: 250ms}}")
    found = get(mesh, f"/slow/{key()}/1/1500", f"/slow/{key()}/1/20")
    assert [status for status, _ in found] == [504, 200]


def test_timeout_disabled(mesh: MeshHandle) -> None:
    """0s is none at all."""
    apply(mesh, "timeouts: {request: 0s}")
    assert get(mesh, f"/slow/{key()}/1/500") == [(200, 1)]


CORS = """
- type: CORS
  cors:
    allowOrigins: ["https://www.foo.com", "https://*.bar.com"]
    allowMethods: [GET, OPTIONS]
    allowHeaders: [x-header-1, x-header-2]
    exposeHeaders: [x-header-3]
    allowCredentials: true
    maxAge: 3600
"""


def test_cors(mesh: MeshHandle) -> None:
    def preflight(origin: str) -> dict[str, Any]:
        return {
            "method": "OPTIONS",
            "headers": [
                ("Origin", origin),
                ("Access-Control-Request-Method", "GET"),
                ("Access-Control-Request-Headers", "x-header-1, x-header-2"),
            ],
        }

    apply(mesh, "", CORS)
    exact, wild, other, plain, foreign = (
        each["headers"]
        for each in ask(
            mesh,
            preflight("https://www.foo.com"),
            preflight("https://a.bar.com"),
            preflight("https://other.com"),
            {"headers": [("Origin", "https://www.foo.com")]},
            {"headers": [("Origin", "https://other.com")]},
        )
    )
    assert exact["access-control-allow-origin"] == "https://www.foo.com"
    assert {m.strip() for m in exact["access-control-allow-methods"].split(",")} == {
        "GET",
        "OPTIONS",
    }
    assert {h.strip() for h in exact["access-control-allow-headers"].split(",")} == {
        "x-header-1",
        "x-header-2",
    }
    assert exact["access-control-max-age"] == "3600"
    assert exact["access-control-allow-credentials"] == "true"
    assert wild["access-control-allow-origin"] == "https://a.bar.com"
    assert "access-control-allow-origin" not in other
    assert plain["access-control-allow-origin"] == "https://www.foo.com"
    assert plain["access-control-expose-headers"] == "x-header-3"
    assert "access-control-allow-origin" not in foreign


def mirror(name: str, more: str = "") -> str:
    """A filter that copies requests."""
    return (
        "- type: RequestMirror\n  requestMirror:\n"
        f"    backendRef: {{name: {name}, port: 80}}\n" + (f"    {more}\n" if more else "")
    )


def seen(mesh: MeshHandle, name: str, path: str) -> int:
    """How often a server was asked for a path."""
    count: int = ask(mesh, {"path": "/seen"}, host=name)[0]["body"].get(path, 0)
    return count


@pytest.mark.parametrize("names", [("copy-1",), ("copy-1", "copy-2")])
def test_request_mirror(mesh: MeshHandle, names: tuple[str, ...]) -> None:
    apply(mesh, "", "".join(mirror(name) for name in names))
    path = f"/{key()}"
    found = ask(mesh, {"path": path, "times": 5})
    assert {each["body"]["name"] for each in found} == {"web"}
    for name in ("copy-1", "copy-2"):
        wanted = 5 * (name in names)
        eventually(lambda n=name, w=wanted: seen(mesh, n, path) == w, f"{name} saw {wanted}")


def test_request_percentage_mirror(mesh: MeshHandle) -> None:
    filters = mirror("copy-1", "percent: 20") + mirror(
        "copy-2", "fraction: {numerator: 1, denominator: 2}"
    )
    apply(mesh, "", filters)
    path, end = f"/{key()}", f"/{key()}"
    assert len(ask(mesh, {"path": path, "times": 400})) == 400
    apply(mesh, "", mirror("copy-1") + mirror("copy-2"))
    ask(mesh, {"path": end})
    for name, share in (("copy-1", 0.2), ("copy-2", 0.5)):
        eventually(lambda n=name: seen(mesh, n, end), "the copies have come")
        assert abs(seen(mesh, name, path) / 400 - share) < 0.1


def test_session_persistence(mesh: MeshHandle) -> None:
    apply(mesh, "sessionPersistence: {sessionName: x-session, type: Header}")
    (first,) = ask(mesh, {"path": "/"})
    note = first["headers"]["x-session"]
    (second,) = ask(mesh, {"path": "/", "headers": [("x-session", note)]})
    assert second["status"] == 200
    assert "x-session" not in second["headers"]


def test_a_port_that_does_not_say_its_protocol(mesh: MeshHandle) -> None:
    """HTTP is found there, and routed; a server that speaks first is heard."""
    rule = (
        "- matches:\n  - path: {value: /other}\n  filters:\n  - type: RequestRedirect\n"
        "    requestRedirect: {hostname: example.org, statusCode: 302}\n"
        "- backendRefs: [{name: copy-1, port: 80}]\n"
    )
    mesh.write("unknown.yaml", route("unknown", "copy-1", rule, NS))
    eventually(
        lambda: ask(mesh, {"path": "/other"}, host="copy-1")[0]["status"] == 302,
        "the route counts",
        15,
    )
    assert ask(mesh, {"path": "/"}, host="copy-1")[0]["body"]["name"] == "copy-1"
    code = (
        "import socket; s = socket.create_connection(('greeter.conform', 2525), 10); "
        "print(s.makefile().readline())"
    )
    told = mesh.run("client", "/usr/bin/python3", "-c", code, namespace=NS).stdout
    assert told.startswith("220 ")


def call(mesh: MeshHandle, *asks: dict[str, Any]) -> list[dict[str, Any]]:
    """Answers of the gRPC service, in order."""
    arguments = (str(PROGRAMS / "grpc_ask.py"), f"grpc.{NS}.svc.cluster.local:80")
    found = mesh.run("client", sys.executable, *arguments, json.dumps(asks), namespace=NS)
    return [json.loads(line) for line in found.stdout.splitlines()]


def grpc_route(rules: str) -> str:
    return route("grpc", "grpc", rules, NS).replace("HTTPRoute", "GRPCRoute")


def test_grpc_route_weight(mesh: MeshHandle) -> None:
    mark = (
        "  filters:\n  - type: RequestHeaderModifier\n    requestHeaderModifier:\n"
        "      set: [{name: x-case, value: weight}]\n"
    )
    weights = (
        "- backendRefs:\n  - {name: grpc-v1, port: 80, weight: 70}\n"
        "  - {name: grpc-v2, port: 80, weight: 30}\n"
    )
    mesh.write("grpc.yaml", grpc_route(weights + mark))
    eventually(
        lambda: call(mesh, {"method": "/a.B/C"})[0]["metadata"].get("x-case") == "weight",
        "the route counts",
        15,
    )
    found = Counter(each["name"] for each in call(mesh, {"method": "/a.B/C", "times": 2000}))
    assert abs(found["grpc-v1"] / 2000 - 0.7) < 0.05, found
    assert found["grpc-v1"] + found["grpc-v2"] == 2000


def test_grpc_route_request_header_modifier(mesh: MeshHandle) -> None:
    def rule(method: str, edits: str) -> str:
        return (
            f"- matches:\n  - method: {{service: a.B, method: {method}}}\n"
            "  filters:\n  - type: RequestHeaderModifier\n"
            f"    requestHeaderModifier: {edits}\n"
            "  backendRefs:\n  - {name: grpc-v1, port: 80}\n"
        )

    rules = (
        rule("Set", "{set: [{name: X-Set, value: set}]}")
        + rule("Add", "{add: [{name: X-Add, value: added}]}")
        + rule("Remove", "{remove: [X-Remove]}")
        + rule(
            "Multi",
            "{set: [{name: X-Set-1, value: a}, {name: X-Set-2, value: b}], "
            "add: [{name: X-Add-1, value: c}], remove: [X-Remove-1, X-Remove-2]}",
        )
    )
    mesh.write("grpc.yaml", grpc_route(rules))
    asks: tuple[tuple[str, dict[str, str], dict[str, str | None]], ...] = (
        ("Set", {}, {"x-set": "set"}),
        ("Set", {"x-set": "other"}, {"x-set": "set"}),
        ("Add", {}, {"x-add": "added"}),
        ("Add", {"x-add": "own"}, {"x-add": "own,added"}),
        ("Remove", {"x-remove": "x", "x-other": "y"}, {"x-remove": None, "x-other": "y"}),
        (
            "Multi",
            {"x-set-1": "old", "x-add-1": "own", "x-remove-1": "x", "x-remove-2": "y"},
            {"x-set-1": "a", "x-set-2": "b", "x-add-1": "own,c",
             "x-remove-1": None, "x-remove-2": None},
        ),
    )  # fmt: skip
    wanted = [
        {"method": f"/a.B/{method}", "metadata": list(sent.items())} for method, sent, _ in asks
    ]

    def faults() -> list[str]:
        found = [each.get("metadata", {}) for each in call(mesh, *wanted)]
        return [
            f"{method}: {name}: {metadata.get(name)!r}, not {value!r}"
            for (method, _, expected), metadata in zip(asks, found, strict=True)
            for name, value in expected.items()
            if metadata.get(name) != value
        ]

    eventually(lambda: not faults(), "every method's headers are changed", 15)
    (other,) = call(mesh, {"method": "/a.B/Unknown"})
    assert other == {"name": "", "error": "UNIMPLEMENTED"}
