from __future__ import annotations

import json
from dataclasses import replace

from deploy.standalone.control.pods import PodStatus
from deploy.standalone.control.rollout import is_ready
from tests.deploy.standalone.control.helpers import AMBIENT, SETTINGS, Mesh, deployment

POD = """
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {containers: [{name: a, command: [b]}]}
"""


def test_pods_are_named_by_their_template() -> None:
    mesh = Mesh(AMBIENT, deployment("web", replicas=2))
    first, second = mesh.names()
    assert first[:-1] == second[:-1]
    assert first.startswith("web-")
    assert (first[-2:], second[-2:]) == ("-0", "-1")
    assert Mesh(AMBIENT, deployment("web", replicas=2)).names() == [first, second]


def test_a_new_template_keeps_the_old_pods_until_the_new_ones_are_ready() -> None:
    mesh = Mesh(AMBIENT, deployment("web", replicas=2))
    mesh.report()
    old = mesh.names()
    mesh.write(AMBIENT, deployment("web", replicas=2, version="v2"))
    new = [name for name in mesh.names() if name not in old]
    assert len(new) == 2
    assert set(old) < set(mesh.names())
    mesh.report(only=new[0])
    assert set(old) < set(mesh.names()), "one of two is ready"
    mesh.report(only=new[1])
    assert mesh.names() == new


def test_old_pods_that_are_not_ready_help_nobody() -> None:
    mesh = Mesh(AMBIENT, deployment("web"))
    mesh.report(ready=False)
    old = mesh.names()
    mesh.write(AMBIENT, deployment("web", version="v2"))
    assert not set(old) & set(mesh.names())


def test_a_second_change_keeps_the_pods_that_serve() -> None:
    mesh = Mesh(AMBIENT, deployment("web"))
    mesh.report()
    old = mesh.names()
    mesh.write(AMBIENT, deployment("web", version="v2"))
    middle = [name for name in mesh.names() if name not in old]
    mesh.report(ready=False, only=middle[0])
    mesh.write(AMBIENT, deployment("web", version="v3"))
    assert set(old) < set(mesh.names())
    assert not set(middle) & set(mesh.names())


def test_scaling_changes_only_the_number() -> None:
    mesh = Mesh(AMBIENT, deployment("web", replicas=3))
    three = mesh.names()
    mesh.write(AMBIENT, deployment("web", replicas=1))
    assert mesh.names() == three[:1]
    mesh.write(AMBIENT, deployment("web", replicas=0))
    assert mesh.names() == []


def test_replicas_are_spread_over_the_nodes() -> None:
    settings = replace(SETTINGS, nodes=("a", "b"))
    mesh = Mesh(AMBIENT, deployment("web", replicas=4), settings=settings)
    nodes = [each.pod.node for _, each in sorted(mesh.view.pods.items())]
    assert sorted(nodes) == ["a", "a", "b", "b"]


def test_a_node_that_does_not_exist_is_reported_and_nothing_runs_there() -> None:
    text = deployment("web").replace("    spec:\n", "    spec:\n      nodeName: mars\n")
    mesh = Mesh(AMBIENT, text)
    said = "there is no node 'mars': the mesh has node1; the pod stays Pending"
    assert f"spec.template.spec.nodeName: {said}" in mesh.messages()
    assert json.loads(f"{{{mesh.view.snapshot.body}}}")["pods"] == []


def test_a_label_changes_no_uid_of_a_pod_and_a_command_does() -> None:
    pod = POD.replace("name: a}", "name: a, labels: {x: y}}", 1)
    mesh = Mesh(pod)
    (before,) = mesh.view.pods.values()
    mesh.write(pod.replace("x: y", "x: z"))
    (relabelled,) = mesh.view.pods.values()
    assert relabelled.pod.uid == before.pod.uid
    assert relabelled.pod.template.labels == {"x": "z"}
    mesh.write(pod.replace("[b]", "[c]"))
    (changed,) = mesh.view.pods.values()
    assert changed.pod.uid != before.pod.uid


def test_a_status_of_another_uid_says_nothing_of_readiness() -> None:
    mesh = Mesh(POD)
    ((name, each),) = mesh.view.pods.items()
    assert is_ready(each.pod, {name: PodStatus(each.pod.uid, ready=True)})
    assert not is_ready(each.pod, {name: PodStatus("earlier", ready=True)})


def test_a_status_of_an_earlier_uid_no_longer_counts() -> None:
    mesh = Mesh(POD)
    mesh.report()
    assert mesh.workloads()
    mesh.write(POD.replace("[b]", "[c]"))
    assert not mesh.workloads()
