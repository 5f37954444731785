"""Pods as the runner describes them, and how a user may name one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.cli.errors import CommandError


@dataclass(frozen=True)
class PodRecord:
    """One pod. folder: where its log lies; pid: its process, None while none runs."""

    namespace: str
    name: str
    node: str
    netns: str
    folder: Path
    pid: int | None = None
    content: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: Mapping[str, Any], folder: Path) -> PodRecord:
        """Read a `pod.json`; raises KeyError for a field that is missing."""
        return cls(
            namespace=content["namespace"],
            name=content["name"],
            node=content["node"],
            netns=content["netns"],
            folder=folder,
            pid=content.get("pid"),
            content=content,
        )

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def resolve(pods: Sequence[PodRecord], wanted: str, namespace: str | None) -> PodRecord:
    """Find the pod that a user means.

    wanted: a full name, `deploy/NAME` (the first pod of the deployment, as kubectl does)
    or a prefix that only one pod has. A namespace of None looks in all of them.
    Raises CommandError that names the candidates.
    """
    here = [pod for pod in pods if namespace in (None, pod.namespace)]
    where = f" in namespace {namespace}" if namespace else ""
    kind, slash, deployment = wanted.partition("/")
    if slash:
        if kind not in ("deploy", "deployment", "deployments"):
            raise CommandError(f"{wanted!r} is not a pod: use POD or deploy/NAME")
        found = [pod for pod in here if is_of_deployment(pod.name, deployment)]
        if len({pod.namespace for pod in found}) > 1:
            raise _ambiguous(wanted, found)
        found = found[:1]
    else:
        found = [pod for pod in here if pod.name == wanted] or [
            pod for pod in here if pod.name.startswith(wanted)
        ]
    if not found:
        raise CommandError(f"no pod {wanted!r}{where}: `tandem get pods` lists them")
    if len(found) > 1:
        raise _ambiguous(wanted, found)
    return found[0]


def is_of_deployment(pod: str, deployment: str) -> bool:
    """Whether a pod's name is NAME-<hash>-<suffix>, as pods of deployment NAME have."""
    return re.fullmatch(re.escape(deployment) + r"-[a-z0-9]+-[a-z0-9]+", pod) is not None


def _ambiguous(wanted: str, found: Sequence[PodRecord]) -> CommandError:
    names = ", ".join(str(pod) for pod in found[:5]) + (", …" if len(found) > 5 else "")
    hint = "use -n NAMESPACE or more of the name"
    return CommandError(f"{wanted!r} is more than one pod ({names}): {hint}")
