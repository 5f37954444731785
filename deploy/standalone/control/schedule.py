"""Which node a pod runs on: by nodeName, by nodeSelector, else where there are fewest.

A pod stays where it is for as long as that fits what it asks for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deploy.standalone.control.objects import Labels, Node, PodTemplate

#: A pod's namespace and name.
Name = tuple[str, str]
#: Names a pod's equals: they are kept apart where that is possible.
Group = tuple[str, str]
Places = Mapping[Name, str]
Nodes = Mapping[str, Labels]

#: Labels that every node has, as kubelets give them; a Node object may say otherwise.
HOSTNAME = "kubernetes.io/hostname"
OS = {"kubernetes.io/os": "linux"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A pod to find a node for."""

    name: Name
    group: Group
    template: PodTemplate


def nodes_of(names: Iterable[str], objects: Mapping[str, Node]) -> Nodes:
    """The mesh's nodes with their labels: their own, and those of their Node objects."""
    return {
        name: {HOSTNAME: name, **OS, **(objects[name].labels if name in objects else {})}
        for name in names
    }


def schedule(pods: Iterable[Asked], nodes: Nodes, before: Places) -> dict[Name, str]:
    """A node for each pod that fits somewhere.

    before: where pods were until now. Those that are new go to the node with the
    fewest of their equals, of those to the one with the fewest pods; those with the
    fewest nodes to choose from go first.
    """
    places: dict[Name, str] = {}
    total: Counter[str] = Counter()
    equals: Counter[tuple[Group, str]] = Counter()

    def put(pod: Asked, node: str) -> None:
        places[pod.name] = node
        total[node] += 1
        equals[pod.group, node] += 1

    new = []
    for pod in pods:
        here = pod.template.node or before.get(pod.name, "")
        if fits(pod.template, here, nodes):
            put(pod, here)
        else:
            new.append((pod, [n for n in nodes if fits(pod.template, n, nodes)]))
    for pod, fitting in sorted(new, key=lambda each: len(each[1])):
        if fitting:
            put(pod, min(fitting, key=lambda n: (equals[pod.group, n], total[n])))
    return places


def fits(template: PodTemplate, node: str, nodes: Nodes) -> bool:
    """Whether a node is there, and what a pod asks for."""
    labels = nodes.get(node)
    if labels is None or template.node not in {None, node}:
        return False
    return all(labels.get(key) == value for key, value in template.node_selector.items())


def misfit(template: PodTemplate, nodes: Nodes) -> tuple[str, str]:
    """Why no node fits: the field of the pod's spec, and what to say of it."""
    if template.node is not None and template.node not in nodes:
        return "nodeName", f"there is no node {template.node!r}"
    wanted = ", ".join(f"{key}={value}" for key, value in template.node_selector.items())
    if template.node is not None:
        return "nodeSelector", f"node {template.node} is not {wanted}"
    return "nodeSelector", f"no node is {wanted}"
