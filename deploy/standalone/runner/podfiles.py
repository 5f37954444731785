"""The files that a pod has of its own, and its environment: text from values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.launch import PATH
from deploy.standalone.runner.spec import ContainerSpec, PodSpec

#: The field of a pod that is the path of a token of its own.
TOKEN_FIELD = "tandem.io/token-path"  # noqa: S105 - no secret


def resolv_conf(config: MeshConfig, namespace: str) -> str:
    """A resolv.conf as Kubernetes writes it."""
    domain = config.cluster_domain
    return (
        f"search {namespace}.svc.{domain} svc.{domain} {domain}\n"
        f"nameserver {config.dns_address4}\n"
        # A query that was lost with the node's agent is sent again to the same one.
        f"nameserver {config.dns_address6}\n"
        "options ndots:5\n"
    )


def hosts(name: str, ips: tuple[str, ...]) -> str:
    """A hosts file as a kubelet writes it.

    Servers look their own name up when they start; this answers at once.
    """
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{ip}\t{name}" for ip in ips]
    return "\n".join(lines) + "\n"


def wants_token(spec: PodSpec) -> bool:
    """Whether a process of the pod is told where a token is."""
    return any(
        variable.field == TOKEN_FIELD
        for container in spec.containers
        for variable in container.environment
    )


def environment(
    spec: PodSpec, container: ContainerSpec, ips: tuple[str, ...], token: Path
) -> dict[str, str]:
    """A container's environment: a few variables that programs expect, then its own.

    token: where the pod's own token is, if it asks for one.
    """
    fields = {
        "metadata.name": spec.name,
        "metadata.namespace": spec.namespace,
        "metadata.uid": spec.uid,
        "status.podIP": ips[0],
        "status.podIPs": ",".join(ips),
        "spec.nodeName": spec.node,
        "spec.serviceAccountName": spec.service_account,
        TOKEN_FIELD: str(token),
    }
    variables = {"PATH": PATH, "HOME": "/root", "HOSTNAME": spec.name}
    for variable in container.environment:
        known = fields.get(variable.field, "") if variable.field else variable.value
        variables[variable.name] = known
    return variables


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file as a whole: readers see the old one or the new one."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(content))
    scratch.replace(path)
