"""What the runner must know, as the JSON of GET /v1/snapshot.

Each pod and service is its own piece of JSON, made again only when it changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from xxhash import xxh64_hexdigest

from deploy.standalone.control.allocate import family_of
from deploy.standalone.control.objects import Container, Family, IpAddress, Service
from deploy.standalone.control.pods import DesiredPod, PodStatus
from deploy.standalone.control.translate.ports import target_port


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A pod behind a Service, with what the runner said of it."""

    pod: DesiredPod
    status: PodStatus


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Pods and services. version: a hash of body; body: the two JSON members."""

    version: str = ""
    body: str = '"pods":[],"services":[]'


def make_snapshot(pods: Iterable[str], services: Iterable[str]) -> Snapshot:
    """Put the pieces together."""
    body = f'"pods":[{",".join(pods)}],"services":[{",".join(services)}]'
    return Snapshot(xxh64_hexdigest(body.encode()), body)


def pod_json(pod: DesiredPod, *, enrolled: bool) -> str:
    """A PodSpec of the API."""
    template = pod.template
    return json.dumps(
        {
            "namespace": pod.namespace,
            "name": pod.name,
            "node": pod.node,
            "service_account": template.service_account,
            "labels": dict(template.labels),
            "enrolled": enrolled,
            "hash": pod.hash,
            "uid": pod.uid,
            "containers": [container_value(container) for container in template.containers],
            "restart_policy": template.restart_policy,
            "grace_period": template.grace_period,
        }
    )


def container_value(container: Container) -> dict[str, Any]:
    """A container of a PodSpec."""
    return {
        "name": container.name,
        "command": container.command,
        "args": container.args,
        "env": [
            {"name": each.name, "field": each.field_path}
            if each.field_path
            else {"name": each.name, "value": each.value}
            for each in container.env
        ],
        "working_dir": container.working_dir,
        "readiness": probe_value(container),
    }


def probe_value(container: Container) -> dict[str, Any] | None:
    """A container's readiness probe."""
    probe = container.readiness
    if probe is None:
        return None
    value: dict[str, Any] = {"kind": probe.kind, "port": probe.port}
    if probe.kind == "http":
        value |= {"path": probe.path, "scheme": probe.scheme}
    return value | {
        "initial_delay": probe.initial_delay,
        "period": probe.period,
        "timeout": probe.timeout,
        "failure_threshold": probe.failure_threshold,
        "success_threshold": probe.success_threshold,
    }


def service_json(
    service: Service,
    addresses: tuple[IpAddress, ...],
    families: tuple[Family, ...],
    endpoints: tuple[Endpoint, ...],
) -> str:
    """A ServiceView of the API."""
    return json.dumps(
        {
            "namespace": service.namespace,
            "name": service.name,
            "hostname": service.hostname,
            "vips": [str(address) for address in addresses],
            "headless": service.headless,
            "ports": [
                {"name": port.name, "port": port.port, "protocol": port.transport}
                for port in service.ports
            ],
            "endpoints": [endpoint_value(each, service, families) for each in endpoints],
        }
    )


def endpoint_value(
    endpoint: Endpoint, service: Service, families: tuple[Family, ...]
) -> dict[str, Any]:
    """A pod of a ServiceView, with its addresses of the Service's families."""
    targets = {
        str(port.port): target
        for port in service.ports
        if (target := target_port(port, endpoint.pod)) is not None
    }
    return {
        "pod": endpoint.pod.name,
        "ips": [str(ip) for ip in endpoint.status.ips if family_of(ip) in families],
        "ready": endpoint.status.ready or service.publish_not_ready,
        "ports": targets,
    }
