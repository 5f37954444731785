"""Envoy's RBAC messages: the HTTP filter's, routes' own, and the network filter's."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_pb
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_pb
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import (
    UriTemplateMatchConfig,
)

from waypoint.decode.fields import each, only, parsed, within
from waypoint.decode.match import header_match
from waypoint.decode.notes import note_match
from waypoint.decode.text import string_match
from waypoint.errors import RouteError
from waypoint.filters.chain import DISABLED
from waypoint.filters.rbac import conditions as c
from waypoint.filters.rbac.engine import Action, Policy, Rbac, Rules, Settings
from waypoint.filters.rbac.templates import PathTemplate
from waypoint.filters.registry import Kind

TYPE = http_pb.RBAC.DESCRIPTOR.full_name
HTTP = {"rules", "rules_stat_prefix", "shadow_rules", "shadow_rules_stat_prefix"}
NETWORK = {"rules", "shadow_rules", "shadow_rules_stat_prefix", "stat_prefix"}
POLICY = {"permissions", "principals"}
PERMISSION = {
    "and_rules", "or_rules", "any", "header", "url_path", "destination_ip", "destination_port",
    "destination_port_range", "metadata", "not_rule", "requested_server_name", "uri_template",
}  # fmt: skip
PRINCIPAL = {
    "and_ids", "or_ids", "any", "authenticated", "source_ip", "direct_remote_ip", "remote_ip",
    "header", "url_path", "metadata", "filter_state", "not_id",
}  # fmt: skip
#: The identity that the mesh proved, as Envoy's waypoint keeps it.
PEER_PRINCIPAL = "io.istio.peer_principal"


def build(name: str, value: bytes, at: str) -> Rbac:
    """Decode the filter; raises RouteError."""
    return Rbac(name, http_settings(http_pb.RBAC.FromString(value), at))


def override(value: bytes, at: str) -> Settings | str:
    """Decode a route's own settings; none: the filter is off there."""
    message = http_pb.RBACPerRoute.FromString(value)
    only(message, {"rbac"}, at)
    return http_settings(message.rbac, f"{at}rbac.") if message.HasField("rbac") else DISABLED


KIND = Kind(build, {http_pb.RBACPerRoute.DESCRIPTOR.full_name: override})


def http_settings(message: Any, at: str) -> Settings:
    """Decode the filter's message."""
    only(message, HTTP, at)
    return Settings(
        rules(message, "rules", at),
        rules(message, "shadow_rules", at),
        message.rules_stat_prefix,
        message.shadow_rules_stat_prefix,
    )


def network_settings(value: bytes, at: str) -> Settings:
    """Decode the network filter's message; raises RouteError for what only HTTP has."""
    message = parsed(network_pb.RBAC, value, at)
    only(message, NETWORK, at)
    found = Settings(
        rules(message, "rules", at),
        rules(message, "shadow_rules", at),
        shadow_prefix=message.shadow_rules_stat_prefix,
    )
    for decoded in filter(None, (found.rules, found.shadow)):
        for policy in decoded.policies:
            for part in (*policy.permissions, *policy.principals):
                for word in c.of_head(part):
                    raise RouteError(f"{at}policies[{policy.name}]: {word} is HTTP's alone")
    return found


def rules(message: Any, name: str, at: str) -> Rules | None:
    """Decode an RBAC, None where there is none."""
    if not message.HasField(name):
        return None
    found, at = getattr(message, name), f"{at}{name}."
    only(found, {"action", "policies"}, at)
    names = {value.number: value.name for value in rbac_pb2.RBAC.Action.DESCRIPTOR.values}
    if found.action not in names:
        raise RouteError(f"{at}action {found.action} is not known here")
    return Rules(
        Action(names[found.action]),
        tuple(
            policy(key, value, f"{at}policies[{key}].") for key, value in found.policies.items()
        ),
    )


def policy(name: str, message: Any, at: str) -> Policy:
    """Decode a Policy."""
    only(message, POLICY, at)
    for part in sorted(POLICY):
        if not getattr(message, part):
            raise RouteError(f"{at}{part} is empty")
    return Policy(
        name,
        each(message.permissions, f"{at}permissions", permission),
        each(message.principals, f"{at}principals", principal),
    )


def condition(
    message: Any, kind: str | None, at: str, own: Callable[[Any, str], c.Condition]
) -> c.Condition | None:
    """What permissions and principals have in common; own: decodes what is within."""
    match kind:
        case "any":
            if not message.any:
                raise RouteError(f"{at}any is false")
            return c.Anything()
        case "and_rules" | "or_rules" | "and_ids" | "or_ids":
            parts = getattr(message, kind)
            inner = parts.rules if kind.endswith("rules") else parts.ids
            if not inner:
                raise RouteError(f"{at}{kind} is empty")
            found = each(inner, f"{at}{kind}", own)
            return c.All(found) if kind.startswith("and") else c.Either(found)
        case "not_rule" | "not_id":
            return c.Not(own(getattr(message, kind), f"{at}{kind}."))
        case "header":
            return c.Header(header_match(message.header, f"{at}header."))
        case "url_path":
            only(message.url_path, {"path"}, f"{at}url_path.")
            return c.Path(string_match(message.url_path.path, f"{at}url_path.path."))
        case "metadata":
            return c.Noted(note_match(message.metadata, f"{at}metadata."))
    return None


def permission(message: Any, at: str) -> c.Condition:
    """Decode a Permission."""
    only(message, PERMISSION, at)
    kind = message.WhichOneof("rule")
    found = condition(message, kind, at, permission)
    if found is not None:
        return found
    match kind:
        case "destination_ip":
            return c.LocalAddress(network(message.destination_ip, f"{at}destination_ip."))
        case "destination_port":
            return c.LocalPort(range(message.destination_port, message.destination_port + 1))
        case "destination_port_range":
            bounds = message.destination_port_range
            return c.LocalPort(range(bounds.start, bounds.end))
        case "requested_server_name":
            return c.ServerName(
                string_match(message.requested_server_name, f"{at}requested_server_name.")
            )
        case "uri_template":
            return c.Path(template(message.uri_template, f"{at}uri_template."))
        case _:
            raise RouteError(f"{at}rule is missing")


def principal(message: Any, at: str) -> c.Condition:
    """Decode a Principal."""
    only(message, PRINCIPAL, at)
    kind = message.WhichOneof("identifier")
    found = condition(message, kind, at, principal)
    if found is not None:
        return found
    match kind:
        case "source_ip" | "direct_remote_ip" | "remote_ip":
            return c.RemoteAddress(network(getattr(message, kind), f"{at}{kind}."))
        case "authenticated":
            who = message.authenticated
            only(who, {"principal_name"}, f"{at}authenticated.")
            name = f"{at}authenticated.principal_name."
            wanted = who.HasField("principal_name")
            return c.Identity(string_match(who.principal_name, name) if wanted else None)
        case "filter_state":
            state = message.filter_state
            only(state, {"key", "string_match"}, f"{at}filter_state.")
            if state.key != PEER_PRINCIPAL:
                raise RouteError(
                    f"{at}filter_state.key {state.key!r} is not known, only {PEER_PRINCIPAL}"
                )
            return c.Identity(
                string_match(state.string_match, f"{at}filter_state.string_match.")
            )
        case _:
            raise RouteError(f"{at}identifier is missing")


def network(message: Any, at: str) -> c.IpNetwork:
    """Decode a CidrRange."""
    only(message, {"address_prefix", "prefix_len"}, at)
    text = f"{message.address_prefix}/{message.prefix_len.value}"
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise RouteError(f"{at}address_prefix: {error}") from error


def template(message: Any, at: str) -> PathTemplate:
    """Decode an extension that holds a UriTemplateMatchConfig."""
    only(message, {"name", "typed_config"}, at)
    config = UriTemplateMatchConfig()
    if not message.typed_config.Unpack(config):
        kind = message.typed_config.type_url
        raise RouteError(f"{at}typed_config: {kind or 'nothing'} is no UriTemplateMatchConfig")
    only(config, {"path_template"}, f"{at}typed_config.")
    with within(f"{at}typed_config.path_template"):
        return PathTemplate(config.path_template)
