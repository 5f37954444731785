"""Which pods should run now: rolling from a Deployment's old template to its new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from deploy.standalone.control.memo import Memo
from deploy.standalone.control.objects import Deployment, Pod
from deploy.standalone.control.pods import DesiredPod, PodName, PodStatus, expand, single
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.world import DeploymentName, World

#: A Deployment's templates whose pods should run, newest first.
Revisions = Mapping[DeploymentName, tuple[Deployment, ...]]
Statuses = Mapping[PodName, PodStatus]


@dataclass(frozen=True, slots=True)
class Rollout:
    """The pods that should run, by name, and the templates that they are made from."""

    pods: Mapping[PodName, DesiredPod]
    revisions: Revisions
    problems: tuple[Problem, ...]


def roll_out(
    world: World, before: Revisions, statuses: Statuses, nodes: Sequence[str], memo: Memo
) -> Rollout:
    """Decide which pods should run.

    Pods of an older template stay until every pod of the new one is ready. One
    that is known not to be ready helps nobody and goes at once; one that nothing
    is known of (this process has just started) stays.
    """
    pods: dict[PodName, DesiredPod] = {}
    revisions: dict[DeploymentName, tuple[Deployment, ...]] = {}
    problems: list[Problem] = []
    for name, pod in world.pods.items():
        one = memo.get(("pod", name), (pod, nodes), partial(single, pod, nodes))
        pods[name] = one
        if not one.node:
            problems.append(no_node(pod, "spec.nodeName", nodes))
    for deployment_name, deployment in world.deployments.items():
        older = tuple(
            old
            for old in before.get(deployment_name, ())
            if old.template != deployment.template
        )
        templates = (deployment, *older)
        made = [
            memo.get(
                ("expand", deployment_name, age), (each, nodes), partial(expand, each, nodes)
            )
            for age, each in enumerate(templates)
        ]
        current = made[0]
        pods.update((one.full_name, one) for one in current)
        if current and not current[0].node:
            problems.append(no_node(deployment, "spec.template.spec.nodeName", nodes))
        kept = [deployment]
        if not all(is_ready(one, statuses) for one in current):
            for old, its_pods in zip(older, made[1:], strict=True):
                staying = [
                    one
                    for one in its_pods[: deployment.replicas]
                    if not known_unready(one, statuses)
                ]
                pods.update((one.full_name, one) for one in staying)
                kept += [old] if staying else []
        revisions[deployment_name] = tuple(kept)
    return Rollout(pods, revisions, tuple(problems))


def no_node(owner: Pod | Deployment, path: str, nodes: Sequence[str]) -> Problem:
    """What to say of pods that ask for a node that doesn't exist."""
    return owner.origin.error(
        path, f"there is no node {owner.template.node!r}: the mesh has {', '.join(nodes)}"
    )


def is_ready(pod: DesiredPod, statuses: Statuses) -> bool:
    """Whether the runner said that this pod, as it should be, is ready."""
    status = statuses.get(pod.full_name)
    return status is not None and status.uid == pod.uid and status.ready


def known_unready(pod: DesiredPod, statuses: Statuses) -> bool:
    """Whether the runner said that this pod is not ready."""
    return pod.full_name in statuses and not is_ready(pod, statuses)
