"""What the runner must know, as the JSON of GET /v1/snapshot.

Each pod and service is its own piece of JSON, made again only when it changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from xxhash import xxh64_hexdigest

from deploy.standalone.control.allocate import family_of
from deploy.standalone.control.hosts import Host
from deploy.standalone.control.istioapi import Outside
from deploy.standalone.control.objects import Container, Family, IpAddress, Service
from deploy.standalone.control.pods import DesiredPod
from deploy.standalone.control.translate.ports import Port, target_port


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A pod or another workload behind a service. owner: knows where ports lead."""

    name: str
    owner: DesiredPod | Outside
    ips: tuple[IpAddress, ...]
    ready: bool


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
            "entry": False,
            "ports": ports_value(service.ports),
            "endpoints": [
                endpoint_value(each, service.ports, families, always=service.publish_not_ready)
                for each in endpoints
            ],
        }
    )


def host_json(host: Host, given: tuple[IpAddress, ...], endpoints: tuple[Endpoint, ...]) -> str:
    """A ServiceView of a ServiceEntry's host; ranges have no place in it."""
    entry = host.entry
    own = [network[0] for network in entry.addresses if network.num_addresses == 1]
    return json.dumps(
        {
            "namespace": entry.namespace,
            "name": entry.name,
            "hostname": host.hostname,
            "vips": [str(address) for address in own or given],
            "headless": False,
            "entry": True,
            "ports": ports_value(entry.ports),
            "endpoints": [
                endpoint_value(each, entry.ports, tuple(Family), always=False)
                for each in endpoints
            ],
        }
    )


def ports_value(ports: Sequence[Port]) -> list[dict[str, Any]]:
    """The ports of a ServiceView."""
    return [{"name": p.name, "port": p.port, "protocol": p.transport} for p in ports]


def endpoint_value(
    endpoint: Endpoint, ports: Sequence[Port], families: tuple[Family, ...], *, always: bool
) -> dict[str, Any]:
    """An endpoint of a ServiceView, with its addresses of the Service's families.

    always: it counts as ready whether it is or not.
    """
    targets = {
        str(port.port): target
        for port in ports
        if (target := target_port(port, endpoint.owner)) is not None
    }
    return {
        "pod": endpoint.name,
        "ips": [str(ip) for ip in endpoint.ips if family_of(ip) in families],
        "ready": endpoint.ready or always,
        "ports": targets,
    }
