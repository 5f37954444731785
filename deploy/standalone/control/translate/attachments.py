"""HTTPRoutes and the Services that they route the requests of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from deploy.standalone.control.gatewayapi import BackendRef, HttpRoute, ParentRef
from deploy.standalone.control.objects import Service, ServicePort, Transport, hostname
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.translate.ports import app_protocol
from deploy.standalone.control.world import Name, World
from proto import workload_pb2 as pb


@dataclass(frozen=True, slots=True)
class Backend:
    """A share of a rule's requests. valid: there is a Service that may take it."""

    hostname: str
    port: int
    weight: int
    valid: bool


#: What each backend of each rule of a route comes to.
Shares = tuple[tuple[Backend, ...], ...]


@dataclass(frozen=True, slots=True)
class AttachedRoute:
    """A route at a Service's port."""

    route: HttpRoute
    shares: Shares


@dataclass(frozen=True, slots=True)
class Attachments:
    """The routes at each Service's ports; which routes lead somewhere; problems."""

    routes: Mapping[Name, Mapping[int, tuple[AttachedRoute, ...]]]
    accepted: Mapping[Name, bool]
    problems: tuple[Problem, ...]


def attach(world: World, with_waypoint: Collection[Name]) -> Attachments:
    """Find each route's Services and backends.

    with_waypoint: the Services that a waypoint serves; elsewhere a route is without
    effect, which is reported.
    """
    routes: dict[Name, dict[int, list[AttachedRoute]]] = defaultdict(lambda: defaultdict(list))
    accepted: dict[Name, bool] = {}
    problems: list[Problem] = []
    for route in world.routes:
        shares, wrong = resolve(route, world)
        problems += wrong
        attached = AttachedRoute(route, shares)
        found = False
        for parent in route.parents:
            name = (route.namespace, parent.name)
            service = world.services.get(name)
            ports, problem = ports_of(parent, service, route.namespace)
            if problem:
                problems.append(problem)
            for port in ports:
                found = True
                if attached not in routes[name][port.port]:
                    routes[name][port.port].append(attached)
            if ports and name not in with_waypoint:
                problems.append(
                    parent.origin.notice(
                        parent.path,
                        f"no waypoint serves Service {'/'.join(name)}: label it, or its "
                        "namespace, istio.io/use-waypoint",
                    )
                )
        accepted[(route.namespace, route.name)] = found
    fixed = {
        name: {port: tuple(found) for port, found in ports.items()}
        for name, ports in routes.items()
    }
    return Attachments(fixed, accepted, tuple(problems))


def ports_of(
    parent: ParentRef, service: Service | None, namespace: str
) -> tuple[list[ServicePort], Problem | None]:
    """The ports whose requests a parentRef means; and why there are none."""
    name = f"{namespace}/{parent.name}"
    if service is None or service.gateway is not None:
        return [], parent.origin.error(f"{parent.path}.name", f"there is no Service {name}")
    meant = [
        port
        for port in service.ports
        if port.transport is Transport.TCP
        and parent.port in {None, port.port}
        and parent.section in {"", port.name}
    ]
    if not meant:
        wanted = parent.section or parent.port or "that is TCP"
        return [], parent.origin.error(parent.path, f"Service {name} has no port {wanted}")
    spoken = [port for port in meant if app_protocol(port) == pb.HTTP11]
    if not spoken:
        return [], parent.origin.error(
            parent.path,
            f"port {meant[0].port} of Service {name} speaks "
            f"{pb.AppProtocol.Name(app_protocol(meant[0]))}, and only HTTP/1.1 is routed: name "
            "the port http, or set its appProtocol to http",
        )
    return spoken, None


def resolve(route: HttpRoute, world: World) -> tuple[Shares, list[Problem]]:
    """Each rule's backends, and what is wrong with them."""
    shares = []
    problems = []
    for rule in route.rules:
        backends = []
        for reference in rule.backends:
            reason = refusal(reference, route, world)
            if reason:
                problems.append(
                    reference.origin.error(
                        reference.path, f"{reason}: its share of the requests fails"
                    )
                )
            backends.append(
                Backend(
                    hostname(reference.name, reference.namespace),
                    reference.port,
                    reference.weight,
                    valid=not reason,
                )
            )
        shares.append(tuple(backends))
    return tuple(shares), problems


def refusal(reference: BackendRef, route: HttpRoute, world: World) -> str:
    """Why a backend can't be used; empty when it can.

    Another namespace's Service needs a ReferenceGrant there; without one, nothing
    is said of whether it exists.
    """
    name = f"{reference.namespace}/{reference.name}"
    if reference.namespace != route.namespace:
        grants = world.grants.get(reference.namespace, ())
        if not any(grant.allows(route.namespace, reference.name) for grant in grants):
            return (
                f"no ReferenceGrant in {reference.namespace} lets HTTPRoutes of "
                f"{route.namespace} name Service {reference.name}"
            )
    service = world.services.get((reference.namespace, reference.name))
    if service is None or service.gateway is not None:
        return f"there is no Service {name}"
    for port in service.ports:
        if port.port == reference.port and port.transport is Transport.TCP:
            return ""
    return f"Service {name} has no port {reference.port}"
