"""The Gateway API's mesh conformance cases for HTTP, after their descriptions.

Each case is a route file, and what requests of a client in the mesh must be answered;
the names are those of gateway-api's conformance/tests/mesh.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.manifests import documents, gateway, idle, namespace, pod, route, service
from tests.support.mesh import PROGRAMS, MeshHandle, eventually

NS = "conform"


def echo_pod(version: str) -> str:
    """A server of one version."""
    made = pod(
        f"echo-{version}",
        "echo.py",
        "8080",
        f"echo-{version}",
        namespace=NS,
        app="echo",
        port=8080,
    )
    return made.replace("    pod: ", f"    version: {version}\n    pod: ")


def two_ports(name: str, selector: str) -> str:
    """A service with ports 80 and 8080."""
    made = service(name, 80, 8080, namespace=NS, selector=selector)
    return made + "  - name: http-alt\n    port: 8080\n    targetPort: 8080\n"


MANIFESTS = {
    "mesh.yaml": documents(
        namespace(NS, dataplane_mode="ambient", use_waypoint="waypoint"),
        namespace("consumer", dataplane_mode="ambient"),
        gateway("waypoint", NS),
        echo_pod("v1"),
        echo_pod("v2"),
        two_ports("echo", "app: echo"),
        two_ports("echo-v1", "version: v1"),
        two_ports("echo-v2", "version: v2"),
        service("raw", 90, 8080, namespace=NS, selector="app: echo", port_name="tcp"),
        idle("client", NS),
        idle("client", "consumer"),
    ),
    "route.yaml": "",
}


@dataclass(frozen=True)
class Ask:
    """A request and what its answer must be.

    name: of the server, by its beginning; seen: headers as the server saw them, None for
    one that it must not see; path: as the server saw it.
    """

    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    host: str = "echo"
    port: int = 80
    status: int = 200
    name: str = ""
    seen: dict[str, str | None] = field(default_factory=dict)
    seen_path: str = ""
    location: str = ""
    times: int = 1
    answer: dict[str, str | None] = field(default_factory=dict)

    def wanted(self) -> dict[str, Any]:
        """For ask.py."""
        return {
            "host": f"{self.host}.{NS}",
            "port": self.port,
            "path": self.path,
            "headers": self.headers,
            "times": self.times,
        }

    def faults(self, found: dict[str, Any]) -> list[str]:
        """What isn't so."""
        body = found["body"] if isinstance(found["body"], dict) else {}
        told = [("status", self.status, found["status"])]
        if self.name:
            told.append(("name", self.name, str(body.get("name"))[: len(self.name)]))
        if self.seen_path:
            told.append(("path", self.seen_path, body.get("path")))
        if self.location:
            told.append(("location", self.location, found["headers"].get("location")))
        seen = body.get("headers", {})
        told += [(name, value, seen.get(name)) for name, value in self.seen.items()]
        told += [(n, value, found["headers"].get(n)) for n, value in self.answer.items()]
        return [f"{what}: {got!r}, not {want!r}" for what, want, got in told if want != got]


def answers(mesh: MeshHandle, asks: list[Ask], namespace: str = NS) -> list[dict[str, Any]]:
    """All of them, in order."""
    found = mesh.run(
        "client",
        "/usr/bin/python3",
        str(PROGRAMS / "ask.py"),
        json.dumps([ask.wanted() for ask in asks]),
        namespace=namespace,
    )
    return [json.loads(line) for line in found.stdout.splitlines()]


def faults(mesh: MeshHandle, asks: list[Ask], namespace: str = NS) -> list[str]:
    """What isn't as it must be, of all of them."""
    found = zip(asks, answers(mesh, asks, namespace), strict=True)
    return [f"{ask.path}: {fault}" for ask, one in found for fault in ask.faults(one)]


def agree(mesh: MeshHandle, rules: str, asks: list[Ask], namespace: str = NS) -> None:
    """The file counts soon, and then everything is as it must be."""
    mesh.write("route.yaml", rules)
    last: list[str] = []

    def all_well() -> bool:
        last[:] = faults(mesh, asks, namespace)
        return not last

    try:
        eventually(all_well, "the route counts", 15)
    except AssertionError:
        raise AssertionError("\n".join(last)) from None


def backend(name: str, weight: int | None = None) -> str:
    """A backendRef below `backendRefs:`."""
    share = "" if weight is None else f"\n    weight: {weight}"
    return f"  - name: {name}\n    port: 80{share}\n"


def rule(matches: str, *backends: str, filters: str = "", name: str = "") -> str:
    """A rule; matches and filters: YAML of their lists, unindented."""
    parts = [f"  name: {name}\n"] if name else []
    for title, lines in (("matches", matches), ("filters", filters)):
        if lines:
            indented = "".join(f"  {line}\n" for line in lines.strip().splitlines())
            parts.append(f"  {title}:\n{indented}")
    if backends:
        parts.append("  backendRefs:\n" + "".join(backends))
    text = "".join(parts)
    return "-" + text[1:]


def prefix(value: str, kind: str = "PathPrefix") -> str:
    """A match of a path."""
    return f"- path:\n    type: {kind}\n    value: {value}\n"


V1, V2 = backend("echo-v1"), backend("echo-v2")


def test_basic(mesh: MeshHandle) -> None:
    agree(mesh, "", [Ask(name="echo-"), Ask("/anything", name="echo-")])


def test_split_by_path(mesh: MeshHandle) -> None:
    rules = rule(prefix("/v1"), V1) + rule(prefix("/v2"), V2)
    agree(mesh, route("split", "echo", rules, NS), [
        Ask("/v1", name="echo-v1"), Ask("/v2", name="echo-v2"), Ask("/v3", status=404),
    ])  # fmt: skip


def test_matching(mesh: MeshHandle) -> None:
    version = "- headers:\n  - name: version\n    value: two\n"
    rules = rule(prefix("/") + "- headers:\n  - name: version\n    value: one\n", V1) + rule(
        prefix("/v2") + version, V2
    )
    agree(mesh, route("matching", "echo", rules, NS), [
        Ask("/", name="echo-v1"),
        Ask("/example", name="echo-v1"),
        Ask("/", (("Version", "one"),), name="echo-v1"),
        Ask("/v2", name="echo-v2"),
        Ask("/v2/", name="echo-v2"),
        Ask("/v2/example", name="echo-v2"),
        Ask("/", (("Version", "two"),), name="echo-v2"),
        Ask("/v2example", name="echo-v1"),  # whole segments only
        Ask("/foo/v2/example", name="echo-v1"),
    ])  # fmt: skip


def redirect(**fields: object) -> str:
    """A RequestRedirect filter."""
    lines = "".join(f"    {name}: {value}\n" for name, value in fields.items())
    return f"- type: RequestRedirect\n  requestRedirect:\n{lines}"


def test_redirect_host_and_status(mesh: MeshHandle) -> None:
    rules = rule(prefix("/hostname-redirect"), filters=redirect(hostname="example.org")) + rule(
        prefix("/host-and-status"), filters=redirect(hostname="example.org", statusCode=301)
    )
    agree(mesh, route("redirect", "echo", rules, NS), [
        Ask("/hostname-redirect", status=302, location="http://example.org/hostname-redirect"),
        Ask("/host-and-status", status=301, location="http://example.org/host-and-status"),
    ])  # fmt: skip


@pytest.mark.parametrize("status", [303, 307, 308])
def test_redirect_status(mesh: MeshHandle, status: int) -> None:
    rules = rule(prefix("/r"), filters=redirect(hostname="example.org", statusCode=status))
    agree(mesh, route("redirect", "echo", rules, NS), [
        Ask("/r", status=status, location="http://example.org/r"),
    ])  # fmt: skip


def test_redirect_scheme(mesh: MeshHandle) -> None:
    rules = (
        rule(prefix("/scheme"), filters=redirect(scheme="https"))
        + rule(
            prefix("/scheme-and-host"), filters=redirect(scheme="https", hostname="example.org")
        )
        + rule(prefix("/scheme-and-status"), filters=redirect(scheme="https", statusCode=301))
    )
    agree(mesh, route("redirect", "echo", rules, NS), [
        Ask("/scheme", status=302, location=f"https://echo.{NS}/scheme"),
        Ask("/scheme-and-host", status=302, location="https://example.org/scheme-and-host"),
        Ask("/scheme-and-status", status=301, location=f"https://echo.{NS}/scheme-and-status"),
    ])  # fmt: skip


def test_redirect_port(mesh: MeshHandle) -> None:
    rules = (
        rule(prefix("/port"), filters=redirect(port=8083))
        + rule(prefix("/port-and-host"), filters=redirect(port=8083, hostname="example.org"))
        + rule(
            prefix("/port-host-status"),
            filters=redirect(port=8083, hostname="example.org", statusCode=301),
        )
    )
    agree(mesh, route("redirect", "echo", rules, NS), [
        Ask("/port", status=302, location=f"http://echo.{NS}:8083/port"),
        Ask("/port-and-host", status=302, location="http://example.org:8083/port-and-host"),
        Ask("/port-host-status", status=301, location="http://example.org:8083/port-host-status"),
    ])  # fmt: skip


def replaced(kind: str, value: str) -> str:
    """The path of a redirect or rewrite."""
    field_name = "replaceFullPath" if kind == "ReplaceFullPath" else "replacePrefixMatch"
    return f"{{type: {kind}, {field_name}: {value}}}"


def test_redirect_path(mesh: MeshHandle) -> None:
    full, part = "ReplaceFullPath", "ReplacePrefixMatch"
    rules = (
        rule(
            prefix("/original-prefix"),
            filters=redirect(path=replaced(part, "/replacement-prefix")),
        )
        + rule(prefix("/full"), filters=redirect(path=replaced(full, "/full-path-replacement")))
        + rule(
            prefix("/prefix-and-host"),
            filters=redirect(
                hostname="example.org", path=replaced(part, "/replacement-prefix")
            ),
        )
        + rule(
            prefix("/prefix-and-status"),
            filters=redirect(path=replaced(part, "/replacement-prefix"), statusCode=301),
        )
        + rule(
            prefix("/full-and-host"),
            filters=redirect(hostname="example.org", path=replaced(full, "/replacement-full")),
        )
    )
    here = f"http://echo.{NS}"
    agree(mesh, route("redirect", "echo", rules, NS), [
        Ask("/original-prefix/lemon", status=302, location=f"{here}/replacement-prefix/lemon"),
        Ask("/full/path/original", status=302, location=f"{here}/full-path-replacement"),
        Ask("/prefix-and-host/lemon", status=302,
            location="http://example.org/replacement-prefix/lemon"),
        Ask("/prefix-and-status/lemon", status=301,
            location=f"{here}/replacement-prefix/lemon"),
        Ask("/full-and-host/lemon", status=302, location="http://example.org/replacement-full"),
    ])  # fmt: skip


SET_HEADERS = """
- type: RequestHeaderModifier
  requestHeaderModifier:
    set: [{name: X-Header-Set, value: set-overwrites-values}]
"""
ADD_HEADERS = """
- type: RequestHeaderModifier
  requestHeaderModifier:
    add: [{name: X-Header-Add, value: add-appends-values}]
"""
REMOVE_HEADERS = """
- type: RequestHeaderModifier
  requestHeaderModifier:
    remove: [X-Header-Remove]
"""
ALL_HEADERS = """
- type: RequestHeaderModifier
  requestHeaderModifier:
    set:
    - {name: X-Header-Set-1, value: header-set-1}
    - {name: X-Header-Set-2, value: header-set-2}
    add:
    - {name: X-Header-Add-1, value: header-add-1}
    - {name: X-Header-Add-2, value: header-add-2}
    remove: [X-Header-Remove-1, X-Header-Remove-2]
"""
HEADER_ASKS = [
    Ask("/set", (("Some-Other-Header", "val"),),
        seen={"some-other-header": "val", "x-header-set": "set-overwrites-values"}),
    Ask("/set", (("X-Header-Set", "some-other-value"),),
        seen={"x-header-set": "set-overwrites-values"}),
    Ask("/add", (("Some-Other-Header", "val"),), seen={"x-header-add": "add-appends-values"}),
    Ask("/add", (("X-Header-Add", "some-other-value"),),
        seen={"x-header-add": "some-other-value,add-appends-values"}),
    Ask("/remove", (("x-header-remove", "val"),), seen={"x-header-remove": None}),
    Ask("/multiple",
        (("X-Header-Set-2", "set-val-2"), ("X-Header-Add-2", "add-val-2"),
         ("X-Header-Remove-2", "remove-val-2"), ("Another-Header", "another-header-val")),
        seen={"x-header-set-1": "header-set-1", "x-header-set-2": "header-set-2",
              "x-header-add-1": "header-add-1", "x-header-add-2": "add-val-2,header-add-2",
              "x-header-remove-1": None, "x-header-remove-2": None,
              "another-header": "another-header-val"}),
]  # fmt: skip
BY_PATH = (
    ("/set", SET_HEADERS),
    ("/add", ADD_HEADERS),
    ("/remove", REMOVE_HEADERS),
    ("/multiple", ALL_HEADERS),
)


def test_request_header_modifier(mesh: MeshHandle) -> None:
    rules = "".join(rule(prefix(path), V1, filters=filters) for path, filters in BY_PATH)
    agree(mesh, route("headers", "echo", rules, NS), HEADER_ASKS)


def test_backend_request_header_modifier(mesh: MeshHandle) -> None:
    def with_filters(filters: str) -> str:
        lines = "".join(f"    {line}\n" for line in filters.strip().splitlines())
        return backend("echo-v1") + f"    filters:\n{lines}"

    rules = "".join(rule(prefix(path), with_filters(filters)) for path, filters in BY_PATH)
    agree(mesh, route("headers", "echo", rules, NS), HEADER_ASKS)


def test_simple_same_namespace(mesh: MeshHandle) -> None:
    agree(mesh, route("simple", "echo", rule("", V1), NS), [Ask(name="echo-v1")] * 5)


def test_weight(mesh: MeshHandle) -> None:
    # The routes that were there before lead to the same servers: a mark tells them apart.
    mark = (
        "- type: ResponseHeaderModifier\n  responseHeaderModifier:\n"
        "    set:\n    - name: x-route\n      value: weight\n"
    )
    rules = rule("", backend("echo-v1", 70), backend("echo-v2", 30), filters=mark)
    asks = [Ask(name="echo-", answer={"x-route": "weight"})]
    agree(mesh, route("weight", "echo", rules, NS), asks)
    found = Counter(a["body"]["name"] for a in answers(mesh, [Ask(times=2000)]))
    assert abs(found["echo-v1"] / 2000 - 0.7) < 0.05, found


def test_named_rule(mesh: MeshHandle) -> None:
    rules = rule(prefix("/named"), V1, name="named-rule") + rule(prefix("/unnamed"), V2)
    agree(mesh, route("named", "echo", rules, NS), [
        Ask("/named", name="echo-v1"), Ask("/unnamed", name="echo-v2"),
    ])  # fmt: skip


def test_query_param_matching(mesh: MeshHandle) -> None:
    def query(*pairs: tuple[str, str], path: str = "") -> str:
        lines = "".join(f"  - name: {n}\n    value: {v}\n" for n, v in pairs)
        text = f"- queryParams:\n{lines}"
        return text + (f"  path:\n    type: PathPrefix\n    value: {path}\n" if path else "")

    rules = (
        rule(query(("animal", "whale")), V1)
        + rule(query(("animal", "dolphin")), V2)
        + rule(query(("animal", "whale"), ("color", "blue")), V2)
        + rule(query(("ANIMAL", "Whale")), V2)
        + rule(query(("animal", "whale"), path="/path1"), V2)
    )
    agree(mesh, route("query", "echo", rules, NS), [
        Ask("/?animal=whale", name="echo-v1"),
        Ask("/?animal=dolphin", name="echo-v2"),
        Ask("/?animal=dolphin&color=blue", name="echo-v2"),
        Ask("/?animal=whale&color=blue", name="echo-v2"),
        Ask("/?ANIMAL=Whale", name="echo-v2"),
        Ask("/path1?animal=whale", name="echo-v2"),
        Ask("/?animal=whale&otherparam=irrelevant", name="echo-v1"),
        Ask("/?color=blue", status=404),
        Ask("/?animal=dog", status=404),
        Ask("/?animal=whaledolphin", status=404),
        Ask("/", status=404),
    ])  # fmt: skip


def test_rewrite_path(mesh: MeshHandle) -> None:
    def rewrite(kind: str, value: str) -> str:
        return f"- type: URLRewrite\n  urlRewrite:\n    path: {replaced(kind, value)}\n"

    part, full = "ReplacePrefixMatch", "ReplaceFullPath"
    rules = (
        rule(prefix("/prefix/one"), V1, filters=rewrite(part, "/one"))
        + rule(prefix("/strip-prefix"), V1, filters=rewrite(part, "/"))
        + rule(prefix("/full/one"), V1, filters=rewrite(full, "/one"))
        + rule(
            prefix("/full/rewrite-path-and-modify-headers"),
            V1,
            filters=rewrite(full, "/test") + ADD_HEADERS,
        )
        + rule(
            prefix("/prefix/rewrite-path-and-modify-headers"),
            V1,
            filters=rewrite(part, "/prefix") + SET_HEADERS,
        )
    )
    agree(mesh, route("rewrite", "echo", rules, NS), [
        Ask("/prefix/one/two", seen_path="/one/two"),
        Ask("/strip-prefix", seen_path="/"),
        Ask("/strip-prefix/three", seen_path="/three"),
        Ask("/full/one/two", seen_path="/one"),
        Ask("/full/rewrite-path-and-modify-headers/test", seen_path="/test",
            seen={"x-header-add": "add-appends-values"}),
        Ask("/prefix/rewrite-path-and-modify-headers/one", seen_path="/prefix/one",
            seen={"x-header-set": "set-overwrites-values"}),
    ])  # fmt: skip


MARK = """
- type: ResponseHeaderModifier
  responseHeaderModifier:
    set: [{name: X-Marked, value: %s}]
"""


def test_frontend_is_the_service_not_the_pod(mesh: MeshHandle) -> None:
    """A route of a Service has no say on its pods' own addresses, nor on another Host."""
    rules = rule("", V1, filters=MARK % "frontend")
    agree(mesh, route("frontend", "echo", rules, NS), [
        Ask(name="echo-v1", answer={"x-marked": "frontend"}),
        Ask(headers=(("Host", "whatever.example"),), name="echo-v1",
            answer={"x-marked": "frontend"}),
        Ask(host="echo-v2", name="echo-v2", answer={"x-marked": None}),
    ])  # fmt: skip
    address = next(ip for ip in mesh.pod("echo-v2", NS)["ips"] if ":" not in ip)
    code = (
        f"import urllib.request as u; print(dict(u.urlopen('http://{address}:8080/').headers))"
    )
    told = mesh.run("client", "/usr/bin/python3", "-c", code, namespace=NS).stdout
    assert "marked" not in told.lower()


def at_port(text: str, port: int) -> str:
    """A route for one port of its Service."""
    return text.replace("    name: echo\n", f"    name: echo\n    port: {port}\n", 1)


def test_ports(mesh: MeshHandle) -> None:
    files = documents(
        at_port(route("alt", "echo", rule("", V1, filters=MARK % "v1"), NS), 80),
        at_port(route("other", "echo", rule("", V2, filters=MARK % "v2"), NS), 8080),
    )
    agree(mesh, files, [
        Ask(name="echo-v1", answer={"x-marked": "v1"}),
        Ask(port=8080, name="echo-v2", answer={"x-marked": "v2"}),
        Ask(host="echo-v1", port=8080, name="echo-v1", answer={"x-marked": None}),
    ])  # fmt: skip


def grant(kind: str) -> str:
    """Routes of the client's namespace may name the services."""
    return (
        "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata:\n"
        f"  name: consumers\n  namespace: {NS}\nspec:\n  from:\n"
        f"  - group: gateway.networking.k8s.io\n    kind: {kind}\n    namespace: consumer\n"
        "  to:\n  - group: ''\n    kind: Service\n"
    )


def test_consumer_route(mesh: MeshHandle) -> None:
    """A route of a client's namespace is for that namespace's requests alone."""
    rules = rule("", backend("echo-v1").replace("echo-v1", f"echo-v1\n    namespace: {NS}"),
                 filters=MARK % "consumer")  # fmt: skip
    text = route("consumer", "echo", rules, "consumer").replace(
        "    name: echo\n", f"    name: echo\n    namespace: {NS}\n", 1
    )
    mine = [Ask(name="echo-v1", answer={"x-marked": "consumer"})] * 5
    agree(mesh, documents(text, grant("HTTPRoute")), mine, "consumer")
    assert faults(mesh, [Ask(name="echo-", answer={"x-marked": None})] * 5) == []


def test_consumer_route_for_bytes(mesh: MeshHandle) -> None:
    """The same of a TCPRoute: each connection goes by whose it was proven to be."""
    rules = rule("", backend("echo-v1").replace("echo-v1", f"echo-v1\n    namespace: {NS}"))
    text = route("consumer", "raw", rules, "consumer").replace(
        "    name: raw\n", f"    name: raw\n    namespace: {NS}\n", 1
    )
    text = text.replace("kind: HTTPRoute", "kind: TCPRoute").replace(
        ".io/v1\n", ".io/v1alpha2\n"
    )
    asks = [Ask(host="raw", port=90, name="echo-v1")] * 10
    agree(mesh, documents(text, grant("TCPRoute")), asks, "consumer")
    others = [Ask(host="raw", port=90, name="echo-")] * 40
    seen = {one["body"]["name"] for one in answers(mesh, others)}
    assert seen == {"echo-v1", "echo-v2"}
