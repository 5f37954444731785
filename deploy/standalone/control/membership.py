"""What labels say: who is in the mesh, and which waypoint serves whom.

An object's own label goes before its namespace's, and "none" opts out.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from deploy.standalone.control.gatewayapi import From, Gateway
from deploy.standalone.control.istioapi import ServiceEntry
from deploy.standalone.control.objects import Labels, Namespace, Service
from deploy.standalone.control.pods import DesiredPod
from deploy.standalone.control.problems import Origin, Problem
from deploy.standalone.control.world import Name, World

DATAPLANE_MODE = "istio.io/dataplane-mode"
USE_WAYPOINT = "istio.io/use-waypoint"
USE_WAYPOINT_NAMESPACE = "istio.io/use-waypoint-namespace"
WAYPOINT_FOR = "istio.io/waypoint-for"
OPT_OUT = "none"
SERVICE = "service"
WORKLOAD = "workload"
#: The values of istio.io/waypoint-for, and what each serves.
SERVED = {
    SERVICE: {SERVICE},
    WORKLOAD: {WORKLOAD},
    "all": {SERVICE, WORKLOAD},
    OPT_OUT: set[str](),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The waypoint that serves something, or none; and what is wrong with the label."""

    gateway: Name | None = None
    problem: Problem | None = None

    def in_force(self, usable: AbstractSet[Name]) -> Name | None:
        """The waypoint, if it is among those that are in use."""
        return self.gateway if self.gateway in usable else None


def is_enrolled(pod: DesiredPod, namespace: Namespace) -> bool:
    """Whether a pod is in the mesh.

    A waypoint's is, for its node proves flows to it, unless its Gateway says ``none``.
    """
    if pod.gateway is not None:
        return pod.template.labels.get(DATAPLANE_MODE) != "none"
    mode = pod.template.labels.get(DATAPLANE_MODE) or namespace.labels.get(DATAPLANE_MODE)
    return mode == "ambient"


def waypoint_of_service(service: Service, world: World) -> Choice:
    """The waypoint of a Service. A waypoint has none itself."""
    if service.gateway is not None:
        return Choice()
    return choose((service.labels, service.origin), service.namespace, SERVICE, world)


def waypoint_of_pod(pod: DesiredPod, world: World) -> Choice:
    """The waypoint of a pod, for connections to its own address."""
    if pod.gateway is not None:
        return Choice()
    owner = (
        world.pods.get(pod.full_name)
        if not pod.owner
        else world.deployments.get((pod.namespace, pod.owner, None))
    )
    origin = owner.origin if owner else Origin("", 0)
    return choose((pod.template.labels, origin), pod.namespace, WORKLOAD, world)


def waypoint_of_entry(entry: ServiceEntry, world: World) -> Choice:
    """The waypoint of a ServiceEntry's hosts."""
    return choose((entry.labels, entry.origin), entry.namespace, SERVICE, world)


def waypoint_of_outside(labels: Labels, origin: Origin, namespace: str, world: World) -> Choice:
    """The waypoint of a workload that is no pod, for connections to its own address."""
    return choose((labels, origin), namespace, WORKLOAD, world)


def choose(own: tuple[Labels, Origin], namespace: str, kind: str, world: World) -> Choice:
    """Follow the use-waypoint labels of an object and of its namespace."""
    labels, origin = own
    around = world.namespace(namespace)
    if not labels.get(USE_WAYPOINT):
        labels, origin = around.labels, around.origin
    name = labels.get(USE_WAYPOINT)
    if not name or name == OPT_OUT:
        return Choice()
    place = labels.get(USE_WAYPOINT_NAMESPACE) or namespace
    path = f"metadata.labels[{USE_WAYPOINT}]"
    gateway = world.gateways.get((place, name))
    if gateway is None:
        return Choice(problem=origin.error(path, f"there is no waypoint {place}/{name}"))
    if not permits(gateway, around):
        message = (
            f"the listeners of Gateway {place}/{name} don't allow namespace {namespace} "
            "(allowedRoutes.namespaces)"
        )
        return Choice(problem=origin.error(path, message))
    served = SERVED.get(gateway.labels.get(WAYPOINT_FOR, SERVICE), set())
    if kind not in served:
        return Choice()
    return Choice(gateway=(place, name))


def permits(gateway: Gateway, namespace: Namespace) -> bool:
    """Whether any listener of a Gateway takes users from a namespace."""
    for listener in gateway.listeners:
        match listener.users:
            case From.ALL:
                return True
            case From.SAME if gateway.namespace == namespace.name:
                return True
            case From.SELECTOR if all(
                namespace.labels.get(k) == v for k, v in listener.selector.items()
            ):
                return True
    return False


def check_gateway(gateway: Gateway) -> Problem | None:
    """Report a waypoint-for label that isn't understood; it serves nothing then."""
    value = gateway.labels.get(WAYPOINT_FOR, SERVICE)
    if value in SERVED:
        return None
    return gateway.origin.error(
        f"metadata.labels[{WAYPOINT_FOR}]", f"{value!r} is none of {', '.join(SERVED)}"
    )
