"""What the control API tells the runner, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PodKey = tuple[str, str]
"""A pod's namespace and name."""


@dataclass(frozen=True)
class Readiness:
    """A readiness probe; times in seconds, defaults as Kubernetes has them."""

    kind: str
    port: int
    path: str = "/"
    scheme: str = "http"
    initial_delay: float = 0
    period: float = 10
    timeout: float = 1
    failure_threshold: int = 3
    success_threshold: int = 1


@dataclass(frozen=True)
class Variable:
    """An environment variable: a value, or a field of the pod."""

    name: str
    value: str = ""
    field: str = ""


@dataclass(frozen=True)
class ContainerSpec:
    """One process of a pod."""

    name: str
    command: tuple[str, ...]
    environment: tuple[Variable, ...] = ()
    working_dir: str | None = None
    readiness: Readiness | None = None


@dataclass(frozen=True)
class PodSpec:
    """A pod that shall run. A pod whose uid is new replaces the one it had."""

    namespace: str
    name: str
    node: str
    uid: str
    service_account: str = "default"
    enrolled: bool = False
    containers: tuple[ContainerSpec, ...] = ()
    restart_policy: str = "Always"
    grace_period: float = 30

    @property
    def key(self) -> PodKey:
        """What names the pod."""
        return self.namespace, self.name


@dataclass(frozen=True)
class EndpointView:
    """A pod behind a service; ports: service port → target port."""

    pod: str
    ips: tuple[str, ...]
    ready: bool
    ports: Mapping[int, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class ServicePortView:
    """A port of a service; protocol: TCP or UDP."""

    name: str
    port: int
    protocol: str = "TCP"


@dataclass(frozen=True)
class ServiceView:
    """A service as DNS and balancer see it. entry: a ServiceEntry's host, of any domain."""

    namespace: str
    name: str
    hostname: str
    vips: tuple[str, ...] = ()
    headless: bool = False
    ports: tuple[ServicePortView, ...] = ()
    endpoints: tuple[EndpointView, ...] = ()
    entry: bool = False


@dataclass(frozen=True)
class Snapshot:
    """Everything at one moment.

    epoch: new for each control process. settled: whether that process knows what
    runs; until then its endpoints mean nothing.
    """

    version: str
    epoch: str
    settled: bool = True
    pods: tuple[PodSpec, ...] = ()
    services: tuple[ServiceView, ...] = ()

    def pod(self, key: PodKey) -> PodSpec | None:
        """The pod of this name, or None."""
        return next((p for p in self.pods if p.key == key), None)


def parse_snapshot(body: Mapping[str, Any]) -> Snapshot:
    """Read an answer of GET /v1/snapshot; raises KeyError, TypeError or ValueError."""
    return Snapshot(
        version=body["version"],
        epoch=body.get("epoch", ""),
        settled=body.get("settled", True),
        pods=tuple(parse_pod(pod) for pod in body["pods"]),
        services=tuple(parse_service(service) for service in body["services"]),
    )


def parse_pod(body: Mapping[str, Any]) -> PodSpec:
    """Read a PodSpec."""
    return PodSpec(
        namespace=body["namespace"],
        name=body["name"],
        node=body["node"],
        uid=body["uid"],
        service_account=body["service_account"],
        enrolled=body["enrolled"],
        containers=tuple(parse_container(container) for container in body["containers"]),
        restart_policy=body["restart_policy"],
        grace_period=body["grace_period"],
    )


def parse_container(body: Mapping[str, Any]) -> ContainerSpec:
    """Read a container of a PodSpec."""
    readiness = body.get("readiness")
    return ContainerSpec(
        name=body["name"],
        command=(*body["command"], *(body.get("args") or ())),
        environment=tuple(
            Variable(entry["name"], entry.get("value") or "", entry.get("field") or "")
            for entry in body.get("env") or ()
        ),
        working_dir=body.get("working_dir"),
        readiness=parse_readiness(readiness) if readiness else None,
    )


def parse_readiness(body: Mapping[str, Any]) -> Readiness:
    """Read a probe; what is left out has Kubernetes' default."""
    known = Readiness.__dataclass_fields__
    given = {name: value for name, value in body.items() if name in known and value is not None}
    if "scheme" in given:
        given["scheme"] = given["scheme"].lower()
    return Readiness(**given)


def parse_service(body: Mapping[str, Any]) -> ServiceView:
    """Read a ServiceView."""
    return ServiceView(
        namespace=body["namespace"],
        name=body["name"],
        hostname=body["hostname"],
        vips=tuple(body["vips"]),
        headless=body["headless"],
        ports=tuple(
            ServicePortView(port["name"], port["port"], port["protocol"])
            for port in body["ports"]
        ),
        endpoints=tuple(
            EndpointView(
                pod=endpoint["pod"],
                ips=tuple(endpoint["ips"]),
                ready=endpoint["ready"],
                ports={int(port): target for port, target in endpoint["ports"].items()},
            )
            for endpoint in body["endpoints"]
        ),
        entry=body.get("entry", False),
    )
