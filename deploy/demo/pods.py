"""What the demo asks about pods: plain functions of manifests, tables and snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.cli.pods import PodRecord, is_of_deployment
from deploy.demo.errors import StoryError


def expected_pods(folder: Path) -> int:
    """How many pods the files of a directory ask for: replicas, pods and waypoints."""
    documents = [
        document
        for file in folder.glob("*.yaml")
        for document in yaml.safe_load_all(file.read_text())
    ]
    deployments = [d for d in documents if d["kind"] == "Deployment"]
    single = [d for d in documents if d["kind"] in ("Pod", "Gateway")]
    replicas = [int(d["spec"].get("replicas", 1)) for d in deployments]
    return len(single) + sum(replicas)


def unready(pods: Sequence[Mapping[str, str]], expected: int) -> str | None:
    """What is missing until `expected` pods are ready, from the rows of `get pods`."""
    waiting = [pod["NAME"] for pod in pods if not is_ready(pod)]
    if len(pods) < expected:
        return f"{len(pods)} of {expected} pods are there"
    if waiting:
        return f"{len(pods) - len(waiting)} of {len(pods)} pods are ready; not {waiting[0]}"
    return None


def is_ready(pod: Mapping[str, str]) -> bool:
    """Whether a row of `get pods` says READY 1/1, or 2/2 and so on."""
    ready, _, of = pod["READY"].partition("/")
    return ready == of != ""


def victim(pods: Sequence[PodRecord], deployment: str) -> tuple[str, int]:
    """The name and process of a running pod of a deployment."""
    for pod in pods:
        if is_of_deployment(pod.name, deployment) and pod.pid is not None:
            return pod.name, pod.pid
    raise StoryError(f"no pod of {deployment} runs")


def still_endpoint(snapshot: Mapping[str, Any], pod: str) -> str | None:
    """Which service of a snapshot still leads to a pod; None if none does."""
    for service in snapshot["services"]:
        for endpoint in service["endpoints"]:
            if endpoint["pod"] == pod and endpoint["ready"]:
                return f"{pod} is still an endpoint of {service['name']}"
    return None


def not_yet_endpoint(snapshot: Mapping[str, Any], pod: str) -> str | None:
    """What to wait for until a service of a snapshot leads to a pod; None if one does."""
    return None if still_endpoint(snapshot, pod) else f"{pod} is no endpoint yet"
