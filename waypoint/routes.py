"""Envoy's RouteConfiguration, from its bytes to a compiled table.

Everything that a message sets is honoured or refused: a field that isn't listed
here raises RouteError with its name, so that nothing is silently left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from envoy.config.route.v3 import route_components_pb2, route_pb2
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from waypoint.errors import RouteError
from waypoint.matching import HeaderMatch, Kind, QueryMatch, TextMatch
from waypoint.routing import (
    DirectResponse,
    Forward,
    Route,
    RouteTable,
    VirtualHost,
    WeightedCluster,
)

TYPE_URL = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
#: Envoy's, for routes that say nothing.
DEFAULT_TIMEOUT = 15.0
#: RouteConfiguration.max_direct_response_body_size_bytes where it isn't set.
DIRECT_BODY_LIMIT = 4096

#: What may be set, per message. Some of it decides nothing here: metadata and
#: decorator are for other filters, validate_clusters for the control plane.
CONFIGURATION = {
    "validate_clusters", "metadata",
    "name", "virtual_hosts", "ignore_port_in_host_matching",
    "max_direct_response_body_size_bytes",
}  # fmt: skip
VIRTUAL_HOST = {"metadata", "name", "domains", "routes"}
ROUTE = {"metadata", "decorator", "stat_prefix", "name", "match", "route", "direct_response"}
MATCH = {
    "prefix", "path", "safe_regex", "path_separated_prefix", "case_sensitive",
    "headers", "query_parameters",
}  # fmt: skip
ACTION = {"cluster", "weighted_clusters", "timeout", "cluster_not_found_response_code"}
#: RouteAction.ClusterNotFoundResponseCode → status.
NOT_FOUND = {0: 503, 1: 404, 2: 500}
WEIGHTED = {"clusters", "total_weight"}
CLUSTER_WEIGHT = {"name", "weight"}
HEADER = {
    "name", "exact_match", "safe_regex_match", "range_match", "present_match",
    "prefix_match", "suffix_match", "contains_match", "string_match", "invert_match",
    "treat_missing_header_as_empty",
}  # fmt: skip
QUERY = {"name", "string_match", "present_match"}
STRING = {"exact", "prefix", "suffix", "contains", "safe_regex", "ignore_case"}


def decode_table(value: bytes) -> RouteTable:
    """Decode and compile a serialized RouteConfiguration; raises RouteError."""
    message = route_pb2.RouteConfiguration()
    try:
        message.ParseFromString(value)
    except DecodeError as error:
        raise RouteError(f"not a RouteConfiguration: {error}") from error
    only(message, CONFIGURATION, "")
    limit = DIRECT_BODY_LIMIT
    if message.HasField("max_direct_response_body_size_bytes"):
        limit = message.max_direct_response_body_size_bytes.value
    hosts = each(
        message.virtual_hosts, "virtual_hosts", lambda h, at: virtual_host(h, at, limit)
    )
    return RouteTable(message.name, hosts, message.ignore_port_in_host_matching)


def only(message: Message, known: set[str], at: str) -> None:
    """Raise RouteError when a message sets anything else."""
    for descriptor, value in message.ListFields():
        if descriptor.name not in known:
            shown = " ".join(str(value).split())[:80]
            raise RouteError(f"{at}{descriptor.name} ({shown}) is not supported")
    unknown = UnknownFieldSet(message)
    if len(unknown):
        raise RouteError(f"{at}field number {unknown[0].field_number} is not known here")


def each(
    messages: Iterable[Any], name: str, decode: Callable[[Any, str], Any]
) -> tuple[Any, ...]:
    """Decode a repeated field, telling each element where it is."""
    return tuple(decode(m, f"{name}[{i}].") for i, m in enumerate(messages))


def virtual_host(message: route_components_pb2.VirtualHost, at: str, limit: int) -> VirtualHost:
    """Decode a VirtualHost; limit: bytes that a direct response's body may have."""
    only(message, VIRTUAL_HOST, at)
    if not message.domains:
        raise RouteError(f"{at}domains is empty")
    routes = each(message.routes, f"{at}routes", lambda r, below: route(r, below, limit))
    return VirtualHost(message.name, tuple(message.domains), routes)


def route(message: route_components_pb2.Route, at: str, limit: int) -> Route:
    """Decode a Route."""
    only(message, ROUTE, at)
    match = message.match
    only(match, MATCH, f"{at}match.")
    action: Forward | DirectResponse
    match message.WhichOneof("action"):
        case "route":
            action = forward(message.route, f"{at}route.")
        case "direct_response":
            action = direct_response(message.direct_response, f"{at}direct_response.", limit)
        case _:
            raise RouteError(f"{at}action is missing")
    return Route(
        name=message.name,
        action=action,
        path=path_match(match, f"{at}match."),
        headers=each(match.headers, f"{at}match.headers", header_match),
        query=each(match.query_parameters, f"{at}match.query_parameters", query_match),
    )


def path_match(message: route_components_pb2.RouteMatch, at: str) -> TextMatch | None:
    """Decode a path_specifier; None: every path."""
    folds = message.HasField("case_sensitive") and not message.case_sensitive.value
    match message.WhichOneof("path_specifier"):
        case "prefix":
            return TextMatch(Kind.PREFIX, message.prefix, folds) if message.prefix else None
        case "path":
            return TextMatch(Kind.EXACT, message.path, folds)
        case "path_separated_prefix":
            return TextMatch(Kind.PATH_PREFIX, message.path_separated_prefix, folds)
        case "safe_regex":
            return TextMatch(Kind.REGEX, message.safe_regex.regex)
        case _:
            raise RouteError(f"{at}path_specifier is missing")


def forward(message: route_components_pb2.RouteAction, at: str) -> Forward:
    """Decode a RouteAction."""
    only(message, ACTION, at)
    timeout: float | None = DEFAULT_TIMEOUT
    if message.HasField("timeout"):
        timeout = message.timeout.ToNanoseconds() / 1e9 or None
    match message.WhichOneof("cluster_specifier"):
        case "cluster":
            clusters: tuple[WeightedCluster, ...] = (WeightedCluster(message.cluster, 1),)
        case "weighted_clusters":
            clusters = weighted_clusters(message.weighted_clusters, f"{at}weighted_clusters.")
        case _:
            raise RouteError(f"{at}cluster_specifier is missing")
    if timeout is not None and timeout < 0:
        raise RouteError(f"{at}timeout {timeout} s is negative")
    if (not_found := NOT_FOUND.get(message.cluster_not_found_response_code)) is None:
        code = message.cluster_not_found_response_code
        raise RouteError(f"{at}cluster_not_found_response_code {code} is not known here")
    return Forward(clusters, timeout, not_found)


def weighted_clusters(
    message: route_components_pb2.WeightedCluster, at: str
) -> tuple[WeightedCluster, ...]:
    """Decode weights; their sum must be what total_weight says, where it says one."""
    only(message, WEIGHTED, at)
    for cluster in message.clusters:
        only(cluster, CLUSTER_WEIGHT, f"{at}clusters.")
    clusters = tuple(WeightedCluster(c.name, c.weight.value) for c in message.clusters)
    total = sum(cluster.weight for cluster in clusters)
    if not 0 < total < 1 << 32:
        raise RouteError(
            f"{at}clusters: the weights add up to {total}, which is not in 1…4294967295"
        )
    if message.HasField("total_weight") and message.total_weight.value != total:
        stated = message.total_weight.value
        raise RouteError(f"{at}total_weight is {stated}, but the weights add up to {total}")
    return tuple(cluster for cluster in clusters if cluster.weight)


def direct_response(
    message: route_components_pb2.DirectResponseAction, at: str, limit: int
) -> DirectResponse:
    """Decode a DirectResponseAction with an inline body."""
    only(message, {"status", "body"}, at)
    if not 200 <= message.status < 600:
        raise RouteError(f"{at}status {message.status} is not in 200…599")
    body = message.body
    only(body, {"inline_string", "inline_bytes"}, f"{at}body.")
    content = body.inline_bytes or body.inline_string.encode()
    if len(content) > limit:
        raise RouteError(f"{at}body has {len(content)} bytes, more than {limit}")
    return DirectResponse(message.status, content)


def header_match(message: route_components_pb2.HeaderMatcher, at: str) -> HeaderMatch:
    """Decode a HeaderMatcher; one that specifies nothing asks for presence."""
    only(message, HEADER, at)
    present = True
    match message.WhichOneof("header_match_specifier"):
        case "exact_match":
            match = TextMatch(Kind.EXACT, message.exact_match)
        case "safe_regex_match":
            match = TextMatch(Kind.REGEX, message.safe_regex_match.regex)
        case "range_match":
            bounds = message.range_match
            match = TextMatch(Kind.RANGE, f"{bounds.start}:{bounds.end}")
        case "prefix_match":
            match = TextMatch(Kind.PREFIX, message.prefix_match)
        case "suffix_match":
            match = TextMatch(Kind.SUFFIX, message.suffix_match)
        case "contains_match":
            match = TextMatch(Kind.CONTAINS, message.contains_match)
        case "string_match":
            match = string_match(message.string_match, f"{at}string_match.")
        case specifier:
            match = TextMatch(Kind.PRESENT, "")
            present = specifier is None or message.present_match
    return HeaderMatch(
        name=message.name.lower(),
        match=match,
        invert=message.invert_match,
        present=present,
        missing_is_empty=message.treat_missing_header_as_empty,
    )


def query_match(message: route_components_pb2.QueryParameterMatcher, at: str) -> QueryMatch:
    """Decode a QueryParameterMatcher; one that specifies nothing asks for presence."""
    only(message, QUERY, at)
    match message.WhichOneof("query_parameter_match_specifier"):
        case "string_match":
            return QueryMatch(
                message.name, string_match(message.string_match, f"{at}string_match.")
            )
        case "present_match":
            return QueryMatch(message.name, TextMatch(Kind.PRESENT, ""), message.present_match)
        case _:
            return QueryMatch(message.name, TextMatch(Kind.PRESENT, ""))


def string_match(message: Any, at: str) -> TextMatch:
    """Decode a StringMatcher."""
    only(message, STRING, at)
    pattern = message.WhichOneof("match_pattern")
    if pattern is None:
        raise RouteError(f"{at}match_pattern is missing")
    if pattern == "safe_regex":
        return TextMatch(Kind.REGEX, message.safe_regex.regex)
    return TextMatch(Kind(pattern), getattr(message, pattern), message.ignore_case)
