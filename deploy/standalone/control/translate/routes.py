"""HTTPRoutes at a Service's port to Envoy's RouteConfiguration.

Order is the Gateway API's: the most specific match first, and the first that
matches wins, so that what reads it needs to know nothing of precedence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.route.v3 import route_components_pb2 as envoy
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.duration_pb2 import Duration

from deploy.standalone.control.gatewayapi import (
    MatchKind,
    PathMatch,
    RouteMatch,
    RouteRule,
    ValueMatch,
)
from deploy.standalone.control.translate.attachments import AttachedRoute, Backend

#: The Gateway API leaves a regular expression's place open: before prefixes, or
#: one beside a rule for "/" could never match.
RANKS = {MatchKind.EXACT: 0, MatchKind.REGEX: 1, MatchKind.PREFIX: 2}
NO_BACKEND = 500
#: A host that can't exist (RFC 6761): the share of a backend that can't be used.
INVALID_DOMAIN = "invalid"


def configuration_name(port: int, hostname: str) -> str:
    """The name of a Service port's RouteConfiguration, as istiod has it."""
    return f"inbound-vip|{port}|http|{hostname}"


def cluster_name(port: int, hostname: str) -> str:
    """The name of a Service's port as a destination."""
    return f"outbound|{port}||{hostname}"


def route_configuration(hostname: str, port: int, attached: Iterable[AttachedRoute]) -> Any:
    """The RouteConfiguration of a Service's port. Without a match: no route, so 404."""
    name = configuration_name(port, hostname)
    host = envoy.VirtualHost(name=name, domains=["*"])
    entries = [
        (precedence(match, each, rule_index, match_index), each, rule_index, match)
        for each in attached
        for rule_index, rule in enumerate(each.route.rules)
        for match_index, match in enumerate(rule.matches)
    ]
    for _, each, index, match in sorted(entries, key=lambda entry: entry[0]):
        host.routes.append(envoy_route(each, index, match))
    return RouteConfiguration(name=name, virtual_hosts=[host])


def precedence(
    match: RouteMatch, attached: AttachedRoute, rule: int, position: int
) -> tuple[Any, ...]:
    """Sorts the most specific match first.

    Among equals the Gateway API asks for the oldest route; files don't tell, so
    it is the first by name, and then the first within it.
    """
    return (
        RANKS[match.path.kind],
        -len(prefix_of(match.path)),
        not match.method,
        -len(match.headers),
        -len(match.query),
        attached.route.namespace,
        attached.route.name,
        rule,
        position,
    )


def envoy_route(attached: AttachedRoute, index: int, match: RouteMatch) -> Any:
    """One match of one rule."""
    route = attached.route
    message = envoy.Route(
        name=f"{route.namespace}.{route.name}.{index}", match=envoy_match(match)
    )
    shares = [share for share in attached.shares[index] if share.weight]
    if any(share.valid for share in shares):
        message.route.CopyFrom(route_action(shares, route.rules[index]))
    else:
        message.direct_response.CopyFrom(
            envoy.DirectResponseAction(
                status=NO_BACKEND, body=DataSource(inline_string="no valid backend\n")
            )
        )
    return message


def route_action(shares: list[Backend], rule: RouteRule) -> Any:
    """Where the requests go, and for how long at most. No timeout is written as 0.

    The share of a backend that can't be used gets 500 (Gateway API).
    """
    action = envoy.RouteAction(timeout=duration(rule.timeout))
    if not all(share.valid for share in shares):
        action.cluster_not_found_response_code = envoy.RouteAction.INTERNAL_SERVER_ERROR
    if len(shares) == 1:
        action.cluster = destination(shares[0])
        return action
    for share in shares:
        action.weighted_clusters.clusters.add(
            name=destination(share)
        ).weight.value = share.weight
    return action


def destination(share: Backend) -> str:
    """The cluster of a share; of one that can't be used, a name that finds nothing."""
    host = share.hostname if share.valid else f"{share.hostname}.{INVALID_DOMAIN}"
    return cluster_name(share.port, host)


def envoy_match(match: RouteMatch) -> Any:
    """A match in Envoy's words; the method is a header's there."""
    message = envoy.RouteMatch()
    match match.path.kind:
        case MatchKind.EXACT:
            message.path = match.path.value
        case MatchKind.REGEX:
            message.safe_regex.CopyFrom(RegexMatcher(regex=match.path.value))
        case MatchKind.PREFIX if prefix_of(match.path):
            message.path_separated_prefix = prefix_of(match.path)
        case MatchKind.PREFIX:
            message.prefix = "/"
    if match.method:
        message.headers.add(name=":method", string_match=StringMatcher(exact=match.method))
    for header in match.headers:
        message.headers.add(name=header.name.lower(), string_match=string_match(header))
    for parameter in match.query:
        message.query_parameters.add(name=parameter.name, string_match=string_match(parameter))
    return message


def prefix_of(path: PathMatch) -> str:
    """A prefix without its last slash, which makes no difference; "" stands for "/"."""
    return path.value.rstrip("/") if path.kind is MatchKind.PREFIX else path.value


def string_match(value: ValueMatch) -> Any:
    """An exact text, or a regular expression for the whole of it."""
    if value.kind is MatchKind.EXACT:
        return StringMatcher(exact=value.value)
    return StringMatcher(safe_regex=RegexMatcher(regex=value.value))


def duration(seconds: float) -> Duration:
    """Seconds as protobuf has them, by the millisecond."""
    message = Duration()
    message.FromMilliseconds(round(seconds * 1000))
    return message
