"""Pods that should run, and what the runner says of them."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from zlib import crc32

from deploy.standalone.control.objects import Deployment, IpAddress, Pod, PodTemplate

PodName = tuple[str, str]

#: Any fixed value: pods' uids are derived from it and their content.
UID_SPACE = uuid.UUID("7b5c2f0e-6d0a-4c57-9d5b-8f5f6f2f4a11")


@dataclass(frozen=True, slots=True)
class DesiredPod:
    """A pod to run. owner: its Deployment's name, or empty; hash: of what needs a restart.

    node is empty when the one that it asks for doesn't exist: it can't run.
    """

    namespace: str
    name: str
    node: str
    template: PodTemplate
    hash: str
    uid: str
    owner: str = ""
    gateway: str | None = None

    @property
    def full_name(self) -> PodName:
        """Namespace and name."""
        return (self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class PodStatus:
    """What the runner last said of a pod."""

    uid: str
    ips: tuple[IpAddress, ...] = ()
    phase: str = "Pending"
    ready: bool = False
    restarts: int = 0
    message: str = ""

    @property
    def completed(self) -> bool:
        """Whether the pod has ended and stays so."""
        return self.phase in {"Succeeded", "Failed"}

    @property
    def serving(self) -> bool:
        """Whether it may be sent connections at all."""
        return bool(self.ips) and not self.completed


def template_hash(template: PodTemplate) -> str:
    """Five hexadecimal digits that change with anything in a template."""
    return digest(asdict(template))[:5]


def digest(value: object) -> str:
    """A hash of a value that JSON can hold."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def expand(deployment: Deployment, nodes: Sequence[str]) -> tuple[DesiredPod, ...]:
    """The pods of a Deployment, spread over the nodes from one that its name chooses."""
    revision = template_hash(deployment.template)
    first = crc32(f"{deployment.namespace}/{deployment.name}".encode())
    return tuple(
        make_pod(
            deployment.namespace,
            f"{deployment.name}-{revision}-{index}",
            deployment.template,
            place(deployment.template, first + index, nodes),
            owner=deployment.name,
            gateway=deployment.gateway,
        )
        for index in range(deployment.replicas)
    )


def single(pod: Pod, nodes: Sequence[str]) -> DesiredPod:
    """The one pod of a Pod."""
    turn = crc32(f"{pod.namespace}/{pod.name}".encode())
    return make_pod(pod.namespace, pod.name, pod.template, place(pod.template, turn, nodes))


def place(template: PodTemplate, turn: int, nodes: Sequence[str]) -> str:
    """The node for a pod; empty when it asks for one that doesn't exist."""
    if template.node is not None:
        return template.node if template.node in nodes else ""
    return nodes[turn % len(nodes)]


def make_pod(
    namespace: str,
    name: str,
    template: PodTemplate,
    node: str,
    *,
    owner: str = "",
    gateway: str | None = None,
) -> DesiredPod:
    """A pod with its hash and uid. Labels need no restart, so they don't count."""
    content = asdict(template)
    del content["labels"]
    content_hash = digest([content, node])[:16]
    uid = str(uuid.uuid5(UID_SPACE, f"{namespace}/{name}/{content_hash}"))
    return DesiredPod(namespace, name, node, template, content_hash, uid, owner, gateway)
