"""What is attached to a service's port to Envoy's RouteConfiguration.

Order is the kinds' own: the Gateway API's most specific match first, VirtualServices as
they are written. The first that matches wins, so that what reads it needs to know
nothing of precedence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.route.v3 import route_components_pb2 as envoy
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from deploy.standalone.control.routing import (
    Answer,
    Redirect,
    RouteMatch,
    RouteRule,
)
from deploy.standalone.control.translate.actions import (
    CORS_FILTER,
    SESSION_FILTER,
    SESSION_METADATA,
    add_edits,
    cors_policy,
    redirect_action,
    route_action,
    session,
)
from deploy.standalone.control.translate.attached import AttachedRule, Group, HttpPort
from deploy.standalone.control.translate.faults import FAULT_FILTER, http_fault
from deploy.standalone.control.translate.matching import envoy_match, source_matchers

NO_BACKEND = 500
NO_ROUTE = 404
ANYTHING = RouteMatch()


def configuration_name(port: int, hostname: str) -> str:
    """The name of a Service port's RouteConfiguration, as istiod has it."""
    return f"inbound-vip|{port}|http|{hostname}"


def route_configuration(hostname: str, port: int, attached: HttpPort) -> Any:
    """The RouteConfiguration of a Service's port. Without a match: no route, so 404.

    A group for some namespaces decides alone for them; the port's default is for
    those that no group is for.
    """
    name = configuration_name(port, hostname)
    host = envoy.VirtualHost(name=name, domains=["*"])
    for group in attached.groups:
        for rule, match in ordered(group, port):
            host.routes.append(envoy_route(group, rule, match, port))
        if group.namespaces:
            host.routes.append(refusal(group))
    if not any(not group.namespaces for group in attached.groups):
        default = AttachedRule("default", RouteRule((ANYTHING,)), (attached.default,))
        host.routes.append(envoy_route(Group((), (), False), default, ANYTHING, port))
    return RouteConfiguration(name=name, virtual_hosts=[host])


def ordered(group: Group, port: int) -> Iterable[tuple[AttachedRule, RouteMatch]]:
    """The matches of a group that can be met, the first to be tried first.

    Among equals the Gateway API asks for the oldest route; files don't tell, so it is
    the first by name, and then the first within it: as the rules are given.
    """
    found = list(pairs(group, port))
    if group.ranked:
        return sorted(found, key=lambda pair: pair[1].rank)
    return found


def pairs(group: Group, port: int) -> Iterator[tuple[AttachedRule, RouteMatch]]:
    """Rules and matches that are for the port, and for a namespace of the group."""
    for rule in group.rules:
        for match in rule.rule.matches:
            meant = set(match.source.namespaces)
            foreign = meant and group.namespaces and not meant & set(group.namespaces)
            if match.port in {0, port} and not foreign:
                yield rule, match


def envoy_route(group: Group, attached: AttachedRule, match: RouteMatch, port: int) -> Any:
    """One match of one rule."""
    rule = attached.rule
    message = envoy.Route(name=attached.name, match=envoy_match(match, group.namespaces))
    add_edits(message, rule.edits)
    if rule.cors is not None:
        message.typed_per_filter_config[CORS_FILTER].Pack(
            cors_policy(rule.cors), deterministic=True
        )
    if rule.fault is not None:
        message.typed_per_filter_config[FAULT_FILTER].Pack(
            http_fault(rule.fault), deterministic=True
        )
    match rule.action:
        case Redirect():
            message.redirect.CopyFrom(redirect_action(rule.action, match, port))
        case Answer(status, body):
            message.direct_response.CopyFrom(answer(status, body))
        case None if usable(group, attached):
            message.route.CopyFrom(route_action(attached, match, fails_as_500=group.ranked))
            if rule.persistence is not None:
                message.typed_per_filter_config[SESSION_FILTER].Pack(
                    session(rule.persistence, attached.name), deterministic=True
                )
                if rule.persistence.idle:
                    riding = message.metadata.filter_metadata[SESSION_METADATA]
                    riding["idle_seconds"] = rule.persistence.idle
        case None:
            message.direct_response.CopyFrom(answer(NO_BACKEND, b"no valid backend\n"))
    return message


def usable(group: Group, attached: AttachedRule) -> bool:
    """Whether a request can be sent anywhere. What Istio's can't reach is a 503 then."""
    shares = [share for share in attached.shares if share.weight]
    return any(share.valid for share in shares) or (bool(shares) and not group.ranked)


def refusal(group: Group) -> Any:
    """Nothing that a namespace's own routes match: its requests meet no other routes."""
    message = envoy.Route(name="unmatched", match=envoy.RouteMatch(prefix="/"))
    message.match.dynamic_metadata.extend(source_matchers(ANYTHING.source, group.namespaces))
    message.direct_response.CopyFrom(answer(NO_ROUTE, b""))
    return message


def answer(status: int, body: bytes) -> Any:
    """A direct response."""
    message = envoy.DirectResponseAction(status=status)
    if body:
        try:
            message.body.CopyFrom(DataSource(inline_string=body.decode()))
        except UnicodeDecodeError:
            message.body.CopyFrom(DataSource(inline_bytes=body))
    return message
