"""Envoy's messages as users write them in YAML, parsed and checked.

Only messages that waypoints here know are taken. Whether they honour all that is set
is theirs to say: they refuse what they don't, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.route.v3 import route_components_pb2 as routes
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.extensions.filters.http.ratelimit.v3 import rate_limit_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from google.protobuf.json_format import ParseDict, ParseError

from deploy.standalone.control.errors import EnvoyValueError
from deploy.standalone.control.extensionapi import ApplyTo
from waypoint.decode.manager import BOUNDS, read_bounds, read_defaults
from waypoint.decode_cluster.health import health_checks
from waypoint.errors import RouteError

#: What may stand in typed_config of an HttpFilter.
FILTERS = (
    buffer_pb2.Buffer,
    ext_authz_pb2.ExtAuthz,
    fault_pb2.HTTPFault,
    jwt_pb2.JwtAuthentication,
    local_rate_limit_pb2.LocalRateLimit,
    rate_limit_pb2.RateLimit,
    rbac_pb2.RBAC,
)
#: What may stand in typed_per_filter_config.
OVERRIDES = (
    buffer_pb2.BufferPerRoute,
    cors_pb2.CorsPolicy,
    ext_authz_pb2.ExtAuthzPerRoute,
    fault_pb2.HTTPFault,
    jwt_pb2.PerRouteConfig,
    local_rate_limit_pb2.LocalRateLimit,
    rate_limit_pb2.RateLimitPerRoute,
    rbac_pb2.RBACPerRoute,
    routes.FilterConfig,
)
#: By what is patched; for all others, OVERRIDES.
KINDS: Mapping[ApplyTo, tuple[Any, ...]] = {
    ApplyTo.HTTP_FILTER: FILTERS,
    ApplyTo.NETWORK_FILTER: (manager_pb2.HttpConnectionManager,),
}
MANAGER = "envoy.filters.network.http_connection_manager"
#: A message of any type, written as a Struct: its type is in type_url.
STRUCTS = ("udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct")
PREFIX = "type.googleapis.com/"
TYPE = "@type"
PARTS = {
    ApplyTo.HTTP_FILTER: manager_pb2.HttpFilter,
    ApplyTo.NETWORK_FILTER: Filter,
    ApplyTo.CLUSTER: Cluster,
    ApplyTo.ROUTE_CONFIGURATION: RouteConfiguration,
    ApplyTo.VIRTUAL_HOST: routes.VirtualHost,
    ApplyTo.HTTP_ROUTE: routes.Route,
}
#: Of a route's parts, what a patch may set.
SETTABLE = {
    ApplyTo.HTTP_FILTER: {"name", "typed_config", "disabled"},
    ApplyTo.NETWORK_FILTER: {"name", "typed_config"},
    ApplyTo.CLUSTER: {"health_checks"},
    ApplyTo.ROUTE_CONFIGURATION: {"typed_per_filter_config"},
    ApplyTo.VIRTUAL_HOST: {"typed_per_filter_config", "rate_limits"},
    ApplyTo.HTTP_ROUTE: {"typed_per_filter_config", "route"},
}
ROUTE_ACTION = {"rate_limits"}


def parse_value(apply_to: ApplyTo, value: Mapping[str, Any]) -> Any:
    """A patch's value as Envoy's message; raises EnvoyValueError."""
    kinds = KINDS.get(apply_to, OVERRIDES)
    known = {kind.DESCRIPTOR.full_name for kind in kinds}
    plain = without_structs(value, known, "")
    message = PARTS[apply_to]()
    try:
        ParseDict(plain, message)
    except (ParseError, TypeError, ValueError) as error:
        raise EnvoyValueError(str(error)) from error
    check_fields(message, SETTABLE[apply_to], "")
    if apply_to is ApplyTo.HTTP_ROUTE and message.HasField("route"):
        check_fields(message.route, ROUTE_ACTION, "route.")
    if apply_to is ApplyTo.NETWORK_FILTER:
        check_manager(message)
    if apply_to is ApplyTo.CLUSTER:
        try:
            health_checks(message)
        except RouteError as error:
            raise EnvoyValueError(str(error)) from error
    return message


def check_manager(message: Any) -> None:
    """Raise EnvoyValueError where a manager sets what isn't a bound of a port's own."""
    manager = manager_pb2.HttpConnectionManager()
    if not message.typed_config.Unpack(manager):
        raise EnvoyValueError("typed_config: missing")
    if message.name not in {"", MANAGER}:
        raise EnvoyValueError(f"name: {message.name!r} is not {MANAGER}")
    check_fields(manager, BOUNDS, "typed_config.")
    try:
        read_bounds(manager)
        read_defaults(manager)
    except RouteError as error:
        raise EnvoyValueError(f"typed_config.{error}") from error


def without_structs(value: Any, known: set[str], at: str) -> Any:
    """A value whose TypedStructs are messages of the types that they stand for.

    Raises EnvoyValueError for a type that isn't known.
    """
    if isinstance(value, list):
        return [without_structs(each, known, f"{at}[{i}]") for i, each in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    kind = str(value.get(TYPE, "")).rpartition("/")[2]
    if kind in STRUCTS:
        inner = value.get("value", {})
        url = value.get("type_url", value.get("typeUrl", ""))
        if not isinstance(inner, Mapping):
            raise EnvoyValueError(f"{at}.value: expected a mapping")
        return without_structs({TYPE: url, **inner}, known, at)
    if TYPE in value and kind not in known:
        raise EnvoyValueError(
            f"{at}: a waypoint doesn't know the type {kind or value[TYPE]!r} here: known are "
            f"{', '.join(sorted(known))}"
        )
    inner = {
        key: without_structs(each, known, f"{at}.{key}" if at else str(key))
        for key, each in value.items()
        if key != TYPE
    }
    return {TYPE: PREFIX + kind, **inner} if TYPE in value else inner


def check_fields(message: Any, known: set[str], at: str) -> None:
    """Raise EnvoyValueError where a message sets anything else."""
    for descriptor, _ in message.ListFields():
        if descriptor.name not in known:
            raise EnvoyValueError(
                f"{at}{descriptor.name}: not supported: set {', '.join(sorted(known))}"
            )
