"""Routes of all kinds, and the services that they route the requests of.

Per port of a service there is one group of rules for everyone, and one for each
namespace that has its own (consumer routes), which its requests, or connections, meet
instead. In each, the Gateway API's routes go before VirtualServices, and HTTPRoutes before
GRPCRoutes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from deploy.standalone.control.gatewayapi import HttpRoute, ParentRef, StreamRoute
from deploy.standalone.control.objects import Key
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.translate.attached import (
    Attachments,
    Chain,
    Group,
    HttpPort,
    Share,
    cluster_name,
)
from deploy.standalone.control.translate.backends import Lookup
from deploy.standalone.control.translate.delegates import resolved
from deploy.standalone.control.translate.destinations import Destinations
from deploy.standalone.control.translate.frontends import (
    HTTP,
    STREAMS,
    Frontend,
    Frontends,
    speaks,
)
from deploy.standalone.control.translate.ports import Port, app_protocol
from deploy.standalone.control.translate.virtual import Claim, claims, streams_of
from deploy.standalone.control.world import Name, World
from proto import workload_pb2 as pb


class Slot(NamedTuple):
    """A port of a service; namespaces: whose requests are meant, () for all."""

    key: Name
    port: int
    namespaces: tuple[str, ...]


@dataclass(slots=True)
class Board:
    """Attachments in the making."""

    lookup: Lookup
    http: dict[Slot, list[HttpRoute]] = field(default_factory=lambda: defaultdict(list))
    groups: dict[Slot, Group] = field(default_factory=dict)
    chains: dict[Slot, tuple[Chain, ...]] = field(default_factory=dict)
    holders: dict[Slot, Key] = field(default_factory=dict)
    accepted: dict[Key, bool] = field(default_factory=dict)

    @property
    def problems(self) -> list[Problem]:
        """What is wrong so far."""
        return self.lookup.problems


def attach(world: World, frontends: Frontends, destinations: Destinations) -> Attachments:
    """Find each route's services and backends."""
    board = Board(Lookup(world, frontends, destinations, list(destinations.problems)))
    for route in sorted(world.routes, key=lambda each: each.kind != "HTTPRoute"):
        attach_route(route, board)
    for slot, routes in board.http.items():
        rules = [
            board.lookup.rule(route, index, rule, slot.port)
            for route in routes
            for index, rule in enumerate(route.rules)
        ]
        board.groups[slot] = Group(slot.namespaces, tuple(rules), ranked=True)
    for stream in world.stream_routes:
        attach_stream(stream, board)
    services, delegations = resolved(world.virtual_services, board.problems)
    for claim in claims(services, frontends, board.problems):
        attach_claim(claim, board)
    for service in world.virtual_services:
        board.accepted.setdefault(service.key, False)
    for key, delegates in delegations.items():
        if board.accepted[key]:
            board.accepted.update(dict.fromkeys(delegates, True))
    return finished(board)


def attach_route(route: HttpRoute, board: Board) -> None:
    """Put an HTTPRoute or a GRPCRoute where its parents say."""
    board.accepted[route.key] = False
    for parent in route.parents:
        for frontend, port in meant(parent, HTTP, board):
            own = parent.namespace == route.namespace
            slot = Slot(frontend.key, port.port, () if own else (route.namespace,))
            there = board.http[slot]
            if there and there[0].kind != route.kind:
                board.problems.append(
                    parent.origin.error(
                        parent.path,
                        f"port {port.port} of {frontend} has {there[0].kind} "
                        f"{there[0].namespace}/{there[0].name}, which counts: routes of one "
                        "kind share a port",
                    )
                )
                continue
            board.accepted[route.key] = True
            if route not in there:
                there.append(route)
    if not board.accepted[route.key]:
        for index, rule in enumerate(route.rules):
            board.lookup.rule(route, index, rule, 0)


def attach_stream(route: StreamRoute, board: Board) -> None:
    """Put a TCPRoute or a TLSRoute where its parents say."""
    board.accepted[route.key] = False
    for parent in route.parents:
        own = parent.namespace == route.namespace
        protocols = STREAMS if route.kind == "TCPRoute" else {pb.TLS, pb.UNKNOWN}
        for frontend, port in meant(parent, protocols, board):
            slot = Slot(frontend.key, port.port, () if own else (route.namespace,))
            holder = board.holders.setdefault(slot, route.key)
            if holder != route.key and "TCPRoute" in {holder.kind, route.kind}:
                board.problems.append(
                    parent.origin.error(
                        parent.path,
                        f"port {port.port} of {frontend} has {holder.kind} "
                        f"{holder.namespace}/{holder.name}, which counts: nothing tells "
                        "their connections apart",
                    )
                )
                continue
            board.accepted[route.key] = True
            made = tuple(
                Chain(
                    f"{route.namespace}.{route.name}.{index}",
                    rule.names,
                    board.lookup.shares(route, rule.backends, port.port),
                )
                for index, rule in enumerate(route.rules)
            )
            board.chains[slot] = distinct((*board.chains.get(slot, ()), *made), parent, board)


def distinct(chains: tuple[Chain, ...], parent: ParentRef, board: Board) -> tuple[Chain, ...]:
    """With every server's name once: where it is found first."""
    found: list[Chain] = []
    seen: dict[str, str] = {}
    for chain in chains:
        names = chain.names or ("",)
        kept = tuple(name for name in names if name not in seen)
        for name in set(names) - set(kept):
            if seen[name] != chain.name:
                board.problems.append(
                    parent.origin.error(
                        parent.path,
                        f"{name or 'every name'} is {seen[name]}'s already, which counts",
                    )
                )
        seen.update(dict.fromkeys(kept, chain.name))
        if kept:
            own = () if kept == ("",) else kept
            found.append(Chain(chain.name, own, chain.shares))
    return tuple(dict.fromkeys(found))


def attach_claim(claim: Claim, board: Board) -> None:
    """Put a VirtualService where it is the first to be, and no Gateway API route is."""
    service, frontend = claim.service, claim.frontend
    http = [port for port in frontend.ports if speaks(port, HTTP)] if service.http else []
    streams = (
        [port for port in frontend.ports if speaks(port, STREAMS)]
        if service.tls or service.tcp
        else []
    )
    if not http and not streams:
        wanted = "HTTP: name one http" if service.http else "TCP or TLS"
        board.problems.append(
            service.origin.error(claim.path, f"{frontend} has no port that speaks {wanted}")
        )
    for port in http:
        slot = Slot(frontend.key, port.port, claim.namespaces)
        if is_free(slot, claim, board):
            rules = tuple(
                board.lookup.rule(service, index, rule, port.port)
                for index, rule in enumerate(service.http)
            )
            board.groups[slot] = Group(claim.namespaces, rules, ranked=False)
    for port in streams:
        slot = Slot(frontend.key, port.port, claim.namespaces)
        tls = app_protocol(port) in {pb.TLS, pb.UNKNOWN}
        chains = streams_of(service, frontend, port.port, board.lookup, tls=tls)
        if chains and is_free(slot, claim, board):
            board.chains[slot] = chains


def is_free(slot: Slot, claim: Claim, board: Board) -> bool:
    """Whether nothing goes before a VirtualService at a slot; reports what does."""
    service = claim.service
    gateway = board.http.get(slot)
    holder = gateway[0].key if gateway else board.holders.get(slot)
    if holder is None or holder == service.key:
        board.holders[slot] = service.key
        board.accepted[service.key] = True
        return True
    board.problems.append(
        service.origin.error(
            claim.path,
            f"port {slot.port} of {claim.frontend} has {holder.kind} {holder.namespace}/"
            f"{holder.name}, which counts: write the routes into one object",
        )
    )
    return False


def meant(
    parent: ParentRef, protocols: set[pb.AppProtocol.ValueType], board: Board
) -> list[tuple[Frontend, Port]]:
    """The ports whose requests a parentRef means; reports why there are none."""
    object_name = (parent.kind, parent.namespace, parent.name)
    frontends = board.lookup.frontends.by_object.get(object_name, ())
    name = f"{parent.kind} {parent.namespace}/{parent.name}"
    if not frontends:
        board.problems.append(parent.origin.error(f"{parent.path}.name", f"there is no {name}"))
    found = []
    for frontend in frontends:
        ports, wrong = ports_of(parent, frontend, protocols)
        if wrong:
            board.problems.append(parent.origin.error(parent.path, wrong))
        elif frontend.waypoint is None:
            board.problems.append(
                parent.origin.notice(
                    parent.path,
                    f"no waypoint serves {name}: label it, or its "
                    "namespace, istio.io/use-waypoint",
                )
            )
        found += [(frontend, port) for port in ports]
    return found


def ports_of(
    parent: ParentRef, frontend: Frontend, protocols: set[pb.AppProtocol.ValueType]
) -> tuple[list[Port], str]:
    """The ports of a service that a parentRef means; and why there are none."""
    ports = [
        port
        for port in frontend.ports
        if parent.port in {None, port.port} and parent.section in {"", port.name}
    ]
    if not ports:
        wanted = parent.section or parent.port or "that is TCP"
        return [], f"{frontend} has no port {wanted}"
    spoken = [port for port in ports if speaks(port, protocols)]
    if not spoken:
        said = pb.AppProtocol.Name(app_protocol(ports[0]))
        hint = (
            "only HTTP is routed by requests: name the port http, or set its appProtocol "
            "to http"
            if protocols == HTTP
            else "this route is for others: use another kind, or port"
        )
        return [], f"port {ports[0].port} of {frontend} speaks {said}, and {hint}"
    return spoken, ""


def finished(board: Board) -> Attachments:
    """Everything by service and port; narrow groups first."""
    http: dict[Name, dict[int, HttpPort]] = defaultdict(dict)
    ports: dict[tuple[Name, int], list[Group]] = defaultdict(list)
    for slot, group in sorted(board.groups.items(), key=lambda item: not item[0].namespaces):
        ports[(slot.key, slot.port)].append(group)
    for key, destination in board.lookup.destinations.by_key.items():
        frontend = board.lookup.frontends.by_key[key]
        for port in frontend.ports if frontend.waypoint else ():
            if speaks(port, HTTP) and destination.hashing(port.port):
                ports.setdefault((key, port.port), [])
    for (key, number), groups in sorted(ports.items()):
        found = board.lookup.destinations.by_key.get(key)
        default = Share(
            cluster_name(number, key[1]), 1, hashing=found.hashing(number) if found else None
        )
        http[key][number] = HttpPort(tuple(groups), default)
    return Attachments(http, streams_of_ports(board), board.accepted, tuple(board.problems))


def streams_of_ports(board: Board) -> dict[Name, dict[int, tuple[Chain, ...]]]:
    """Chains by service and port; narrow ones first, and a namespace's the first that are."""
    found: dict[Name, dict[int, tuple[Chain, ...]]] = defaultdict(dict)
    taken: set[tuple[Name, int, str]] = set()
    for slot, chains in sorted(board.chains.items(), key=lambda item: not item[0].namespaces):
        key, port, namespaces = slot
        free = tuple(each for each in namespaces if (key, port, each) not in taken)
        taken.update((key, port, each) for each in free)
        if free or not namespaces:
            own = tuple(replace(chain, namespaces=free) for chain in chains)
            found[key][port] = (*found[key].get(port, ()), *own)
    return found
