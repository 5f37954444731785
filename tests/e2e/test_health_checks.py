"""Active health checks at a waypoint, as an EnvoyFilter asks for them."""

from __future__ import annotations

import json

from tests.e2e.manifests import documents, gateway, idle, namespace, pod, service
from tests.support.mesh import MeshHandle, eventually

NS = "shop"
MANIFESTS = {
    "mesh.yaml": documents(
        namespace(NS, dataplane_mode="ambient", use_waypoint="waypoint"),
        gateway("waypoint", NS),
        # Both take connections, and one of them speaks HTTP.
        pod("web", "echo.py", "8080", "web", namespace=NS, app="web", port=8080),
        pod("other", "greeter.py", "8080", namespace=NS, app="web", port=8080),
        service("web", 80, 8080, namespace=NS),
        idle("client", NS),
    ),
    "checks.yaml": "",
}
TIMES = "timeout: 2s, interval: 1s, no_traffic_interval: 1s"
COUNTS = "unhealthy_threshold: 1, healthy_threshold: 1"


def checks(*kinds: str) -> str:
    """The web's endpoints are checked so."""
    rows = "".join(f"        - {{{TIMES}, {COUNTS}, {kind}}}\n" for kind in kinds)
    return (
        "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata:\n"
        f"  name: checks\n  namespace: {NS}\nspec:\n"
        "  targetRefs: [{group: '', kind: Service, name: web}]\n  configPatches:\n"
        "  - applyTo: CLUSTER\n    patch:\n      operation: MERGE\n      value:\n"
        f"        health_checks:\n{rows}"
    )


def verdicts(mesh: MeshHandle) -> list[list[bool | None]]:
    """What each check says of each endpoint of the web; None: nothing yet."""
    clusters = json.loads(mesh.tandem("dump", "waypoint"))["clusters"]
    (name,) = (each for each in clusters if each.endswith(f"|80||web.{NS}.svc.cluster.local"))
    endpoints = clusters[name]["endpoints"].values()
    return sorted((each["checks"] for each in endpoints), key=str)


def statuses(mesh: MeshHandle) -> set[str]:
    """The statuses of twenty requests."""
    asked = ("curl", "-sS", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}\\n")
    return set(mesh.run("client", *asked, "http://web/[1-20]", namespace=NS).stdout.split())


def test_an_endpoint_must_pass_all_checks(mesh: MeshHandle) -> None:
    assert verdicts(mesh) == [[], []]
    tcp, http = "tcp_health_check: {}", "http_health_check: {path: /}"
    mesh.write("checks.yaml", checks(tcp, http))
    eventually(lambda: verdicts(mesh) == [[True, False], [True, True]], "both are judged", 30)
    assert statuses(mesh) == {"200"}
    mesh.write("checks.yaml", checks(tcp))
    eventually(lambda: verdicts(mesh) == [[True], [True]], "one check is enough", 30)
    eventually(lambda: statuses(mesh) != {"200"}, "the other one is asked too", 30)
