"""Pods that should run, and what the runner says of them."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from deploy.standalone.control.objects import Deployment, IpAddress, Pod, PodTemplate
from deploy.standalone.control.schedule import Asked

PodName = tuple[str, str]

#: Any fixed value: pods' uids are derived from it and their content.
UID_SPACE = uuid.UUID("7b5c2f0e-6d0a-4c57-9d5b-8f5f6f2f4a11")


@dataclass(frozen=True, slots=True)
class DesiredPod:
    """A pod to run. owner: its Deployment's name, or empty; hash: of what needs a restart.

    node is empty when none fits what it asks for: it can't run.
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


def asked_for(owner: Deployment | Pod) -> tuple[Asked, ...]:
    """The pods of a Deployment, or the one of a Pod, that need a node."""
    namespace, template = owner.namespace, owner.template
    if isinstance(owner, Pod):
        return (Asked((namespace, owner.name), (namespace, owner.name), template),)
    stem = f"{owner.name}-{template_hash(template)}"
    return tuple(
        Asked((namespace, f"{stem}-{index}"), (namespace, stem), template)
        for index in range(owner.replicas)
    )


def make_pods(
    owner: Deployment | Pod, asked: Sequence[Asked], nodes: Sequence[str]
) -> tuple[DesiredPod, ...]:
    """The pods of a Deployment or Pod; nodes: of each, empty where none fits."""
    name, gateway = "", None
    if isinstance(owner, Deployment):
        name, gateway = owner.name, owner.gateway
    return tuple(
        make_pod(*each.name, each.template, node, owner=name, gateway=gateway)
        for each, node in zip(asked, nodes, strict=True)
    )


def make_pod(
    namespace: str,
    name: str,
    template: PodTemplate,
    node: str,
    *,
    owner: str = "",
    gateway: str | None = None,
) -> DesiredPod:
    """A pod with its hash and uid. What needs no restart doesn't count."""
    content = asdict(template)
    del content["labels"], content["accelerate"]
    content_hash = digest([content, node])[:16]
    uid = str(uuid.uuid5(UID_SPACE, f"{namespace}/{name}/{content_hash}"))
    return DesiredPod(namespace, name, node, template, content_hash, uid, owner, gateway)
