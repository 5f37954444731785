"""Which pods should run now: rolling from a Deployment's old template to its new one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from deploy.standalone.control.memo import Memo
from deploy.standalone.control.objects import Deployment, Pod
from deploy.standalone.control.pods import (
    DesiredPod,
    PodName,
    PodStatus,
    asked_for,
    make_pods,
)
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.schedule import Asked, Nodes, Places, misfit, schedule
from deploy.standalone.control.world import DeploymentName, World

#: A Deployment's templates whose pods should run, newest first.
Revisions = Mapping[DeploymentName, tuple[Deployment, ...]]
Statuses = Mapping[PodName, PodStatus]
Owner = Deployment | Pod


@dataclass(frozen=True, slots=True)
class Rollout:
    """The pods that should run, by name, and the templates that they are made from.

    places: the nodes of those that have one.
    """

    pods: Mapping[PodName, DesiredPod]
    revisions: Revisions
    places: Places
    problems: tuple[Problem, ...]


class Making:
    """Pods of Pods and Deployments, each where it was or where there is room."""

    def __init__(self, nodes: Nodes, before: Places, memo: Memo) -> None:
        self.nodes = nodes
        self.before = before
        self.memo = memo
        self.places: dict[PodName, str] = {}

    def asked(self, key: object, owner: Owner) -> tuple[Asked, ...]:
        """The pods of an owner that need a node; key: the owner's, with its age."""
        return self.memo.get(("asked", key), (owner,), partial(asked_for, owner))

    def schedule(self, owners: Iterable[tuple[object, Owner]]) -> None:
        """Find a node for each pod of each owner."""
        pods = [pod for key, owner in owners for pod in self.asked(key, owner)]
        self.places = schedule(pods, self.nodes, self.before)

    def pods(self, key: object, owner: Owner) -> tuple[DesiredPod, ...]:
        """An owner's pods."""
        asked = self.asked(key, owner)
        nodes = tuple(self.places.get(pod.name, "") for pod in asked)
        make = partial(make_pods, owner, asked, nodes)
        return self.memo.get(("pods", key), (owner, nodes), make)


def roll_out(
    world: World,
    before: Revisions,
    statuses: Statuses,
    memo: Memo,
    *,
    nodes: Nodes,
    places: Places,
) -> Rollout:
    """Decide which pods should run, and where. places: where they were until now.

    Pods of an older template stay until every pod of the new one is ready. One
    that is known not to be ready helps nobody and goes at once; one that nothing
    is known of (this process has just started) stays.
    """
    pods: dict[PodName, DesiredPod] = {}
    revisions: dict[DeploymentName, tuple[Deployment, ...]] = {}
    problems: list[Problem] = []
    templates = {
        name: (deployment, *older(deployment, before.get(name, ())))
        for name, deployment in world.deployments.items()
    }
    making = Making(nodes, places, memo)
    owners: list[tuple[object, Owner]] = list(world.pods.items())
    for deployment_name, each in templates.items():
        owners += [((deployment_name, age), one) for age, one in enumerate(each)]
    making.schedule(owners)
    for name, pod in world.pods.items():
        (pods[name],) = making.pods(name, pod)
        if not pods[name].node:
            problems.append(no_node(pod, "spec", nodes))
    for deployment_name, (deployment, *olds) in templates.items():
        current = making.pods((deployment_name, 0), deployment)
        pods.update((one.full_name, one) for one in current)
        if current and not current[0].node:
            problems.append(no_node(deployment, "spec.template.spec", nodes))
        kept = [deployment]
        if not all(is_ready(one, statuses) for one in current):
            for age, old in enumerate(olds, 1):
                its_pods = making.pods((deployment_name, age), old)
                staying = [
                    one
                    for one in its_pods[: deployment.replicas]
                    if not known_unready(one, statuses)
                ]
                pods.update((one.full_name, one) for one in staying)
                kept += [old] if staying else []
        revisions[deployment_name] = tuple(kept)
    placed = {name: one.node for name, one in pods.items() if one.node}
    return Rollout(pods, revisions, placed, tuple(problems))


def older(deployment: Deployment, before: tuple[Deployment, ...]) -> tuple[Deployment, ...]:
    """A Deployment's templates that aren't its newest."""
    return tuple(old for old in before if old.template != deployment.template)


def no_node(owner: Owner, path: str, nodes: Nodes) -> Problem:
    """What to say of pods that no node fits."""
    field, why = misfit(owner.template, nodes)
    return owner.origin.error(
        f"{path}.{field}", f"{why}: the mesh has {', '.join(nodes)}; the pod stays Pending"
    )


def is_ready(pod: DesiredPod, statuses: Statuses) -> bool:
    """Whether the runner said that this pod, as it should be, is ready."""
    status = statuses.get(pod.full_name)
    return status is not None and status.uid == pod.uid and status.ready


def known_unready(pod: DesiredPod, statuses: Statuses) -> bool:
    """Whether the runner said that this pod is not ready."""
    return pod.full_name in statuses and not is_ready(pod, statuses)
