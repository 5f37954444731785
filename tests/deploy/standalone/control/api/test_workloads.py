from __future__ import annotations

from deploy.standalone.control.api.tables import table
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    Mesh,
    authentication,
    deployment,
    entry,
    istio,
    policy,
    service,
    workload_entry,
)

PLAIN = AMBIENT.replace(", istio.io/use-waypoint: waypoint", "")
OUTSIDE = (
    "hosts: [a.example]\nports: [{number: 80, name: http}]\nresolution: STATIC\n"
    "endpoints: [{address: 10.9.0.1, locality: eu/a}]"
)
WEB = "selector: {matchLabels: {app: web}}"


def rows(kind: str, *parts: str) -> list[dict[str, str]]:
    mesh = Mesh(*parts)
    mesh.report()
    found = table(kind, mesh.view)
    return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]


def test_workloads_of_all_kinds() -> None:
    parts = (PLAIN, deployment("web"), entry(OUTSIDE), policy(WEB), service("web"))
    vm = workload_entry("{address: 10.9.0.2, labels: {app: web}, serviceAccount: clerk}")
    pod, by_entry, by_itself = rows("workloads", *parts, vm)
    assert (pod["KIND"], pod["NODE"], pod["SERVICES"]) == ("Pod", "node1", "1")
    assert (pod["POLICIES"], pod["LOCALITY"]) == ("shop/rules", "-")
    assert by_entry == {
        "NAMESPACE": "shop",
        "NAME": "out/10.9.0.1",
        "KIND": "ServiceEntry",
        "IP": "10.9.0.1",
        "NODE": "-",
        "ACCOUNT": "default",
        "LOCALITY": "eu/a",
        "SERVICES": "1",
        "POLICIES": "-",
    }
    assert (by_itself["NAME"], by_itself["KIND"]) == ("vm", "WorkloadEntry")
    assert (by_itself["ACCOUNT"], by_itself["POLICIES"]) == ("clerk", "shop/rules")


def test_peer_authentications_say_who_is_strict() -> None:
    found = rows(
        "policies",
        PLAIN,
        deployment("web"),
        deployment("api"),
        authentication("mtls: {mode: STRICT}", namespace="istio-system"),
        authentication(f"{WEB}\nportLevelMtls: {{90: {{mode: PERMISSIVE}}}}", "ports"),
        authentication("mtls: {mode: PERMISSIVE}", "young", namespace="istio-system"),
    )
    shown = {
        row["NAME"]: (row["KIND"], row["ACTION"], row["SCOPE"], row["STATE"]) for row in found
    }
    kind = "PeerAuthentication"
    assert shown == {
        "default": (kind, "STRICT", "GLOBAL", "enforced"),
        "ports": (kind, "UNSET,90=PERMISSIVE", "WORKLOAD_SELECTOR", "enforced"),
        "young": (kind, "PERMISSIVE", "GLOBAL", "not in force"),
    }
    held = {row["NAME"]: row["WORKLOADS"] for row in found}
    assert "web-" in held["ports"]
    assert "api-" not in held["ports"]
    assert "web-" in held["default"]
    assert "api-" in held["default"]
    assert held["young"] == "-"


def test_request_authentications_say_whose_tokens_are_taken() -> None:
    target = "targetRefs: [{kind: Service, name: web}]\n"
    (attached, loose) = rows(
        "policies",
        PLAIN,
        tokens(f"{target}jwtRules: [{{issuer: https://i}}, {{issuer: https://j}}]", "a"),
        tokens("jwtRules: []", "b"),
    )
    assert (attached["KIND"], attached["ACTION"]) == (
        "RequestAuthentication",
        "https://i,https://j",
    )
    assert (attached["SCOPE"], attached["STATE"]) == ("Service web", "enforced")
    assert (loose["ACTION"], loose["STATE"]) == ("-", "not in force")


def tokens(spec: str, name: str) -> str:
    return istio("security", "RequestAuthentication", name, spec, "shop", "")


def test_policies_say_whom_they_hold_for() -> None:
    found = rows(
        "policies",
        PLAIN,
        deployment("web"),
        deployment("api", replicas=4),
        deployment("far", namespace="elsewhere"),
        entry(OUTSIDE),
        policy(WEB + "\naction: DENY\nrules: [{}]", name="chosen"),
        policy("rules: [{to: [{operation: {methods: [GET]}}]}, {}]", name="whole"),
        policy(
            "{}", name="root", namespace="istio-system", annotations="istio.io/dry-run: 'true'"
        ),
        policy("targetRefs: [{kind: Service, name: web}]", name="waypoints"),
    )
    by_name = {row["NAME"]: row for row in found}
    assert [row["NAME"] for row in found] == ["root", "chosen", "waypoints", "whole"]
    chosen = by_name["chosen"]
    assert (chosen["ACTION"], chosen["SCOPE"], chosen["RULES"], chosen["STATE"]) == (
        "DENY",
        "WORKLOAD_SELECTOR",
        "1/1",
        "enforced",
    )
    assert chosen["WORKLOADS"].startswith("web-")
    whole = by_name["whole"]
    assert (whole["SCOPE"], whole["RULES"]) == ("NAMESPACE", "1/2")
    assert whole["WORKLOADS"].endswith(",+2")
    root = by_name["root"]
    assert (root["SCOPE"], root["STATE"]) == ("GLOBAL", "dry run")
    unsent = by_name["waypoints"]
    assert (unsent["SCOPE"], unsent["WORKLOADS"], unsent["STATE"]) == (
        "Service web",
        "-",
        "not in force",
    )


def test_hosts_stand_among_services() -> None:
    found = rows(
        "services", PLAIN, service("web"), entry(OUTSIDE + "\naddresses: [10.7.0.0/16]")
    )
    assert found[1] == {
        "NAMESPACE": "shop",
        "NAME": "a.example",
        "CLUSTER-IP": "10.7.0.0/16",
        "PORTS": "80/TCP",
        "ENDPOINTS": "1/1",
        "WAYPOINT": "-",
    }
    (given,) = rows("services", PLAIN, entry(OUTSIDE))
    assert given["CLUSTER-IP"].startswith("240.240.")


def test_problems_name_the_place_errors_first() -> None:
    first, second = rows("problems", PLAIN, service("web"), policy("action: AUDIT"))
    assert (first["LEVEL"], first["FIELD"]) == ("error", "spec.action")
    assert first["PLACE"] == "/mesh/mesh.yaml:14"
    assert (second["LEVEL"], second["FIELD"]) == ("notice", "spec.selector")
