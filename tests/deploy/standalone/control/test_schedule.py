from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from deploy.standalone.control.objects import Container, PodTemplate
from deploy.standalone.control.schedule import Asked, misfit, schedule
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    SETTINGS,
    Mesh,
    deployment,
    good,
)

NODES = {
    name: {"kubernetes.io/hostname": name, "disk": disk}
    for name, disk in (("a", "fast"), ("b", "slow"), ("c", "fast"))
}
THREE = replace(SETTINGS, nodes=("a", "b", "c"))
FAST = """
apiVersion: v1
kind: Node
metadata: {name: b, labels: {disk: fast}}
"""


def asked(name: str, group: str = "", node: str | None = None, **selector: str) -> Asked:
    template = PodTemplate({}, (Container("c", ("x",)),), node=node, node_selector=selector)
    return Asked(("ns", name), ("ns", group or name), template)


def pod(name: str, spec: str = "") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop}}
spec: {{{spec}containers: [{{name: a, command: [b]}}]}}
"""


def nodes(mesh: Mesh) -> dict[str, str]:
    return {name: each.pod.node for (_, name), each in mesh.view.pods.items()}


def test_pods_go_where_there_are_fewest() -> None:
    places = schedule([asked(f"p{i}") for i in range(7)], NODES, {})
    assert sorted(Counter(places.values()).values()) == [2, 2, 3]


def test_equals_are_kept_apart_before_numbers_are_made_even() -> None:
    crowd = [asked(f"p{i}", node="a") for i in range(5)]
    places = schedule([*crowd, *(asked(f"w{i}", "web") for i in range(3))], NODES, {})
    assert {places["ns", f"w{i}"] for i in range(3)} == {"a", "b", "c"}


def test_a_pod_stays_where_it_is_for_as_long_as_that_fits() -> None:
    before = {("ns", "p"): "c", ("ns", "gone"): "a"}
    assert schedule([asked("new"), asked("p")], NODES, before)["ns", "p"] == "c"
    assert schedule([asked("p", disk="slow")], NODES, before) == {("ns", "p"): "b"}
    assert schedule([asked("p")], {"a": {}}, before) == {("ns", "p"): "a"}


def test_who_has_least_choice_goes_first() -> None:
    pods = [asked("any"), asked("fast", disk="fast"), asked("slow", disk="slow")]
    places = schedule(pods, {"a": NODES["a"], "b": NODES["b"]}, {})
    assert (places["ns", "fast"], places["ns", "slow"]) == ("a", "b")
    assert schedule([asked("any"), asked("here", node="a")], NODES, {})["ns", "any"] != "a"


@pytest.mark.parametrize(
    ("pod", "field", "why"),
    [
        (asked("p", node="mars"), "nodeName", "there is no node 'mars'"),
        (asked("p", disk="none"), "nodeSelector", "no node is disk=none"),
        (asked("p", node="b", disk="fast"), "nodeSelector", "node b is not disk=fast"),
    ],
)
def test_a_pod_that_fits_nowhere_has_no_place(pod: Asked, field: str, why: str) -> None:
    assert schedule([pod], NODES, {pod.name: "a"}) == {}
    assert misfit(pod.template, NODES) == (field, why)


def test_nodes_have_their_names_and_the_labels_of_their_objects() -> None:
    by_name = "nodeSelector: {kubernetes.io/hostname: c, kubernetes.io/os: linux}, "
    mesh = Mesh(
        AMBIENT,
        pod("here", by_name),
        pod("fast", "nodeSelector: {disk: fast}, "),
        FAST,
        settings=THREE,
    )
    assert nodes(mesh) == {"here": "c", "fast": "b"}


def test_what_fits_nowhere_stays_pending_until_something_fits() -> None:
    wanted = pod("fast", "nodeSelector: {disk: fast}, ")
    mesh = Mesh(AMBIENT, wanted, settings=THREE)
    assert (
        "spec.nodeSelector: no node is disk=fast: the mesh has a, b, c; the pod stays Pending"
        in mesh.messages()
    )
    assert json.loads(f"{{{mesh.view.snapshot.body}}}")["pods"] == []
    mesh.write(AMBIENT, wanted, FAST)
    assert nodes(mesh) == {"fast": "b"}
    assert not [text for text in mesh.messages() if "nodeSelector" in text]


def test_pods_that_come_and_go_move_nobody() -> None:
    some = [pod(f"p{i}") for i in range(4)]
    mesh = Mesh(AMBIENT, *some, settings=THREE)
    before = nodes(mesh)
    uids = {name: each.pod.uid for name, each in mesh.view.pods.items()}
    mesh.write(AMBIENT, deployment("web", replicas=3), *some[1:])
    after = nodes(mesh)
    assert all(after[name] == before[name] for name in ("p1", "p2", "p3"))
    assert all(
        mesh.view.pods[n].pod.uid == uids[n] for n in uids.keys() & mesh.view.pods.keys()
    )


def test_a_waypoint_is_spread_like_any_pod() -> None:
    mesh = Mesh(
        AMBIENT,
        GATEWAY,
        pod("one", "nodeName: a, "),
        pod("two", "nodeName: c, "),
        settings=THREE,
    )
    assert nodes(mesh).pop(next(n for n in nodes(mesh) if n.startswith("waypoint"))) == "b"


def test_a_selector_is_part_of_what_a_pod_is_made_from() -> None:
    (found,) = good(pod("p", "nodeSelector: {disk: fast}, ")).values()
    assert found.template.node_selector == {"disk": "fast"}  # type: ignore[union-attr]
