"""HTTP through both engines: splits, matches, live edits, endpoints that go."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter

from tests.e2e.manifests import documents, gateway, idle, namespace, pod, route, service, split
from tests.support.mesh import MeshHandle, eventually

SHOP = {"dataplane_mode": "ambient", "use_waypoint": "waypoint"}


def route_file(rules: str) -> str:
    return route("web", "web", rules, "shop")


MANIFESTS = {
    "shop.yaml": documents(
        namespace("shop", **SHOP),
        gateway("waypoint", "shop"),
        *(
            pod(
                f"web-{version}-{i}",
                "echo.py",
                "8080",
                f"web-{version}",
                namespace="shop",
                app="web",
                port=8080,
            ).replace("    pod: ", f"    version: {version}\n    pod: ")
            for version, count in (("v1", 1), ("v2", 2))
            for i in range(count)
        ),
        service("web", 80, 8080, namespace="shop"),
        service("web-v1", 80, 8080, namespace="shop", selector="version: v1"),
        service("web-v2", 80, 8080, namespace="shop", selector="version: v2"),
        service("nobody", 80, 8080, namespace="shop"),
        idle("client", "shop"),
    ),
    "route.yaml": route_file(split(80, 20)),
}

ASK = """
import http.client, json, sys
host, count, headers = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
c = http.client.HTTPConnection(host, 80, timeout=10)
for i in range(count):
    if i % 10 == 0:
        c.close()
    c.request("GET", "/x", headers=headers)
    r = c.getresponse()
    body = r.read()
    print(r.status, json.loads(body)["name"] if r.status == 200 else "-")
"""


def ask(
    mesh: MeshHandle, count: int, headers: dict[str, str] | None = None, host: str = "web"
) -> Counter[str]:
    done = mesh.run(
        "client",
        "/usr/bin/python3",
        "-c",
        ASK,
        host,
        str(count),
        json.dumps(headers or {}),
        namespace="shop",
    )
    return Counter(done.stdout.splitlines())


def test_split_is_within_five_points_over_a_thousand_requests(mesh: MeshHandle) -> None:
    answers = ask(mesh, 1000)
    assert set(answers) == {"200 web-v1", "200 web-v2"}
    assert abs(answers["200 web-v1"] - 800) <= 50


def test_a_live_edit_fails_no_request(mesh: MeshHandle) -> None:
    with mesh.steady("client", "http://web/", namespace="shop") as steady:
        steady.more(100)
        mesh.write("route.yaml", route_file(split(0, 1)))
        eventually(lambda: {a.get("name") for a in steady.more(50)} == {"web-v2"}, "all on v2")
        mesh.write("route.yaml", route_file(split(1, 0)))
        eventually(lambda: {a.get("name") for a in steady.more(50)} == {"web-v1"}, "all on v1")
    assert steady.failures() == []
    mesh.write("route.yaml", route_file(split(80, 20)))
    eventually(lambda: len(ask(mesh, 40)) == 2, "the split is back")


def test_a_header_sends_one_user_to_v2(mesh: MeshHandle) -> None:
    match = "- matches:\n  - headers:\n    - name: end-user\n      value: jason\n"
    rules = match + "  backendRefs:\n  - name: web-v2\n    port: 80\n" + split(1, 0)
    mesh.write("route.yaml", route_file(rules))
    eventually(
        lambda: set(ask(mesh, 5, {"end-user": "jason"})) == {"200 web-v2"}, "jason on v2"
    )
    assert set(ask(mesh, 30, {"end-user": "jason"})) == {"200 web-v2"}
    assert set(ask(mesh, 30, {"end-user": "jasonx"})) == {"200 web-v1"}
    assert set(ask(mesh, 30)) == {"200 web-v1"}


def test_no_matching_rule_is_404_and_a_missing_backend_500(mesh: MeshHandle) -> None:
    only = "- matches:\n  - path:\n      type: Exact\n      value: /only\n"
    mesh.write(
        "route.yaml", route_file(only + "  backendRefs:\n  - name: web-v1\n    port: 80\n")
    )
    eventually(lambda: set(ask(mesh, 3)) == {"404 -"}, "404 for what no rule matches")
    mesh.write("route.yaml", route_file("- backendRefs:\n  - name: missing\n    port: 80\n"))
    eventually(lambda: set(ask(mesh, 3)) == {"500 -"}, "500 for a backend that isn't there")
    half = "- backendRefs:\n  - name: missing\n    port: 80\n  - name: web-v1\n    port: 80\n"
    mesh.write("route.yaml", route_file(half))
    eventually(lambda: set(ask(mesh, 30)) == {"500 -", "200 web-v1"}, "500 for its share only")
    dump = mesh.dump("control")
    assert any("missing" in json.dumps(e) for e in dump["errors"]), dump["errors"]


def test_a_broken_route_file_keeps_the_last_good_one(mesh: MeshHandle) -> None:
    mesh.write("route.yaml", route_file(split(1, 0)))
    eventually(lambda: set(ask(mesh, 20)) == {"200 web-v1"}, "all on v1")
    mesh.write("route.yaml", route_file(split(1, 0)).replace("rules:", "rules: ["))

    def reported() -> bool:
        errors = mesh.dump("control")["errors"]
        return any(e["file"].endswith("route.yaml") and e["line"] for e in errors)

    eventually(reported, "the broken file, by name and line")
    assert set(ask(mesh, 20)) == {"200 web-v1"}
    mesh.write("route.yaml", route_file(split(0, 1)))
    eventually(lambda: set(ask(mesh, 20)) == {"200 web-v2"}, "the mended file counts")


def test_a_killed_pod_leaves_and_comes_back(mesh: MeshHandle) -> None:
    mesh.write("route.yaml", route_file(split(0, 1)))
    eventually(lambda: set(ask(mesh, 10)) == {"200 web-v2"}, "all on v2")
    victim = mesh.pod("web-v2-0", "shop")

    def endpoint_status() -> str:
        workloads = mesh.dump("waypoint")["workloads"]
        items = workloads.values() if isinstance(workloads, dict) else workloads
        return next((str(w.get("status")) for w in items if w["name"] == "web-v2-0"), "gone")

    healthy = endpoint_status()
    with mesh.steady("client", "http://web/", namespace="shop") as steady:
        steady.more(50)
        os.kill(victim["pid"], signal.SIGKILL)
        eventually(lambda: endpoint_status() != healthy, "the endpoint is out")
        before = len(steady.answers())
        steady.more(200)
    assert [a for a in steady.answers()[before:] if not a["ok"]] == []
    eventually(lambda: endpoint_status() == healthy, "the pod was restarted")


def test_a_service_without_endpoints_is_refused_at_once(mesh: MeshHandle) -> None:
    mesh.write("empty.yaml", service("empty", 80, 8080, namespace="shop", use_waypoint="none"))
    eventually(
        lambda: "shop/empty.shop.svc.cluster.local" in mesh.dump("node")["services"],
        "the service",
    )
    done = mesh.run(
        "client", "curl", "-sS", "-m", "5", "http://empty/", namespace="shop", check=False
    )
    assert done.returncode == 7, done.stderr
    done = mesh.run(
        "client",
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://nobody/",
        namespace="shop",
    )
    assert done.stdout == "503"


def test_dumps_of_node_waypoint_and_control_plane_agree(mesh: MeshHandle) -> None:
    def services(what: str) -> set[str]:
        return set(mesh.dump(what)["services"])

    control = services("control")
    assert "shop/web.shop.svc.cluster.local" in control
    eventually(lambda: services("node") == control, "the node's services")
    eventually(lambda: services("waypoint") == control, "the waypoint's services")
