"""A waypoint's metrics, as Prometheus reads them: Istio's families and its own."""

from __future__ import annotations

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.manifests import (
    PROGRAMS,
    documents,
    gateway,
    idle,
    namespace,
    pod,
    route,
    service,
)
from tests.support.mesh import MeshHandle, eventually

NS = "shop"
OPTIONS = ("--access-log", "off")
MANIFESTS = {
    "mesh.yaml": documents(
        namespace(NS, dataplane_mode="ambient", use_waypoint="waypoint"),
        gateway("waypoint", NS),
        pod("web", "echo.py", "8080", "web", namespace=NS, port=8080, account="web"),
        service("web", 80, 8080, namespace=NS),
        service("raw", 81, 8080, namespace=NS, port_name="tcp", selector="app: web"),
        route(
            "web",
            "web",
            "- matches:\n  - path:\n      type: PathPrefix\n      value: /known\n"
            "  backendRefs:\n  - name: web\n    port: 80\n",
            NS,
        ),
        # The mesh's own Python, which has gRPC.
        pod("says", "grpc_echo.py", "8080", namespace=NS, port=8080).replace(
            "/usr/bin/python3", sys.executable
        ),
        service("says", 80, 8080, namespace=NS, port_name="grpc"),
        idle("client", NS, account="buyer"),
    )
}
WHO = f"spiffe://cluster.local/ns/{NS}/sa"
Samples = dict[str, list[tuple[dict[str, str], float]]]


def samples(mesh: MeshHandle) -> Samples:
    """What another pod reads, by names."""
    address = next(ip for ip in mesh.pod("waypoint", NS)["ips"] if ":" not in ip)
    url = f"http://{address}:15020/stats/prometheus"
    text = mesh.run("client", "curl", "-sS", "-m", "10", url, namespace=NS).stdout
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def ask(mesh: MeshHandle, url: str, count: int = 1) -> list[str]:
    """The statuses of so many requests."""
    done = mesh.run(
        "client", "curl", "-sS", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}\\n",
        f"{url}?[1-{count}]", namespace=NS,
    )  # fmt: skip
    return done.stdout.split()


def test_requests_and_connections_by_name(mesh: MeshHandle) -> None:
    eventually(lambda: ask(mesh, "http://web/unknown") == ["404"], "routed", 60)
    assert ask(mesh, "http://web/known", 7) == ["200"] * 7
    assert ask(mesh, "http://raw:81/", 1) == ["200"]
    found = samples(mesh)
    requests = [
        (labels, value)
        for labels, value in found["istio_requests_total"]
        if labels["response_code"] == "200"
    ]
    ((labels, value),) = requests
    assert value == 7
    assert labels == {
        "reporter": "waypoint",
        "source_workload": "client",
        "source_canonical_service": "client",
        "source_canonical_revision": labels["source_canonical_revision"],
        "source_workload_namespace": NS,
        "source_principal": f"{WHO}/buyer",
        "source_app": "client",
        "source_version": labels["source_version"],
        "source_cluster": "Kubernetes",
        "destination_service": f"web.{NS}.svc.cluster.local",
        "destination_service_namespace": NS,
        "destination_service_name": "web",
        "destination_workload": "web",
        "destination_canonical_service": "web",
        "destination_canonical_revision": labels["destination_canonical_revision"],
        "destination_workload_namespace": NS,
        "destination_principal": f"{WHO}/web",
        "destination_app": "web",
        "destination_version": labels["destination_version"],
        "destination_cluster": "Kubernetes",
        "request_protocol": "http",
        "connection_security_policy": "kernel_verified",
        "response_code": "200",
        "response_flags": "-",
        "grpc_response_status": "",
    }
    for name in ("request_duration_milliseconds", "request_bytes", "response_bytes"):
        counts = found[f"istio_{name}_count"]
        assert [n for each, n in counts if each == labels] == [7]
        ends = [
            n for each, n in found[f"istio_{name}_bucket"] if each == labels | {"le": "+Inf"}
        ]
        assert ends == [7]
    unknown = [(each, n) for each, n in found["istio_requests_total"] if each != labels]
    assert {(each["response_code"], each["response_flags"]) for each, _ in unknown} == {
        ("404", "NR")
    }
    for name in ("connections_opened", "connections_closed", "received_bytes", "sent_bytes"):
        (number,) = (
            n
            for each, n in found[f"istio_tcp_{name}_total"]
            if each["destination_service_name"] == "raw"
        )
        assert number >= 1, name


def test_grpc_messages_by_name(mesh: MeshHandle) -> None:
    calls = json.dumps([{"method": "/shop.Echo/Say", "times": 5}])
    place = f"says.{NS}.svc.cluster.local:80"
    done = mesh.run(
        "client", sys.executable, str(PROGRAMS / "grpc_ask.py"), place, calls, namespace=NS
    )
    assert [json.loads(line)["name"] for line in done.stdout.splitlines()] == ["says"] * 5
    found = samples(mesh)
    for name in ("istio_request_messages_total", "istio_response_messages_total"):
        ((labels, value),) = found[name]
        assert value == 5
        assert labels["reporter"] == "waypoint"
        assert labels["source_principal"] == f"{WHO}/buyer"
        assert labels["destination_workload"] == "says"
        assert labels["destination_service_name"] == "says"


def test_what_is_its_own(mesh: MeshHandle) -> None:
    before = samples(mesh)
    ask(mesh, "http://web/known", 3)
    found = samples(mesh)
    name = "tandem_waypoint_requests_total"
    assert found[name][0][1] == before[name][0][1] + 3
    cluster = f"outbound|80||web.{NS}.svc.cluster.local"
    told = [(each["state"], n) for each, n in found["tandem_waypoint_cluster_endpoints"]
            if each["cluster"] == cluster]  # fmt: skip
    assert sorted(told) == [("ejected", 0), ("healthy", 1), ("unhealthy", 0)]


def test_the_access_log_is_off(mesh: MeshHandle) -> None:
    assert ask(mesh, "http://web/known") == ["200"]
    assert "/known" not in mesh.tandem("logs", "-n", NS, "waypoint")
