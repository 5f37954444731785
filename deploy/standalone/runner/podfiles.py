"""The files that a pod has of its own, and its environment: text from values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.launch import PATH
from deploy.standalone.runner.spec import ContainerSpec, PodSpec


def resolv_conf(config: MeshConfig, namespace: str) -> str:
    """A resolv.conf as Kubernetes writes it."""
    domain = config.cluster_domain
    return (
        f"search {namespace}.svc.{domain} svc.{domain} {domain}\n"
        f"nameserver {config.dns_address4}\n"
        "options ndots:5\n"
    )


def hosts(name: str, ips: tuple[str, ...]) -> str:
    """A hosts file as a kubelet writes it.

    Servers look their own name up when they start; this answers at once.
    """
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{ip}\t{name}" for ip in ips]
    return "\n".join(lines) + "\n"


def environment(
    spec: PodSpec, container: ContainerSpec, ips: tuple[str, ...]
) -> dict[str, str]:
    """A container's environment: a few variables that programs expect, then its own."""
    fields = {
        "metadata.name": spec.name,
        "metadata.namespace": spec.namespace,
        "metadata.uid": spec.uid,
        "status.podIP": ips[0],
        "status.podIPs": ",".join(ips),
        "spec.nodeName": spec.node,
        "spec.serviceAccountName": spec.service_account,
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
