"""EnvoyFilters: changes to what is derived from other objects, as far as waypoints go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from deploy.standalone.control.errors import EnvoyValueError
from deploy.standalone.control.extensionapi import (
    ApplyTo,
    ConfigPatch,
    EnvoyFilter,
    Operation,
    PatchMatch,
)
from deploy.standalone.control.manifests.entries import GROUP
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.metadata import read_metadata
from deploy.standalone.control.manifests.targetrefs import read_selector_or_targets
from deploy.standalone.control.translate.envoytypes import MANAGER, parse_value

VERSIONS = (f"{GROUP}/v1alpha3",)
#: Contexts whose patches a waypoint follows; those of the others are for other proxies.
OURS, OTHERS = ("ANY", "WAYPOINT"), ("SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY")
LISTENER = "main_internal"
ACTIONS = ("ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE")
OPERATIONS = {
    ApplyTo.HTTP_FILTER: tuple(Operation),
    ApplyTo.NETWORK_FILTER: (Operation.MERGE,),
    ApplyTo.CLUSTER: (Operation.MERGE,),
    ApplyTo.ROUTE_CONFIGURATION: (Operation.MERGE,),
    ApplyTo.VIRTUAL_HOST: (Operation.MERGE,),
    ApplyTo.HTTP_ROUTE: (Operation.MERGE,),
}
LOWEST, HIGHEST = -(1 << 31), (1 << 31) - 1


def read_envoy_filter(document: Fields, _folder: Path | None) -> EnvoyFilter:
    """Read an EnvoyFilter."""
    metadata = read_metadata(document)
    document.ignore("status")
    spec = document.child("spec")
    selector, labels, targets = read_selector_or_targets(
        spec, metadata.namespace, "workloadSelector", "labels"
    )
    patches = [read_patch(inner) for inner in spec.children("configPatches")]
    found = EnvoyFilter(
        namespace=metadata.namespace,
        name=metadata.name,
        selector=labels,
        targets=targets,
        priority=spec.integer("priority", 0, LOWEST, HIGHEST),
        patches=tuple(patch for patch in patches if patch),
        origin=document.origin,
    )
    selector.end()
    spec.end()
    return found


def read_patch(fields: Fields) -> ConfigPatch | None:
    """Read one of ``configPatches``; None: it isn't for waypoints, or wrong."""
    match, patch = fields.child("match"), fields.child("patch")
    context = match.choice("context", (*OURS, *OTHERS), "ANY")
    if context in OTHERS:
        match.notice(
            "context", f"without effect: {context} is no waypoint; use ANY or WAYPOINT"
        )
        skip(fields, match, patch)
        return None
    text = fields.required("applyTo")
    if text not in list(ApplyTo):
        if text:
            fields.wrong("applyTo", f"not supported: {text}; known are {', '.join(ApplyTo)}")
        skip(fields, match, patch)
        return None
    apply_to = ApplyTo(text)
    operation = Operation(patch.choice("operation", OPERATIONS[apply_to], Operation.MERGE))
    if not patch.has("operation"):
        patch.wrong("operation", f"missing: give one of {', '.join(OPERATIONS[apply_to])}")
    patch.ignore("filterClass")
    value = read_value(patch, apply_to, operation)
    found = ConfigPatch(
        apply_to, operation, read_match(match, apply_to), value, fields.path, fields.origin
    )
    if (
        apply_to is ApplyTo.HTTP_FILTER
        and operation in {Operation.MERGE, Operation.REMOVE, Operation.REPLACE}
        and not found.match.filter
    ):
        match.wrong("", f"{operation} needs the filter's name, in subFilter.name")
    for part in (match, patch, fields):
        part.end()
    return found


def skip(*parts: Fields) -> None:
    """Pass over all that a patch says."""
    for part in parts:
        part.ignore(*part.values)


def read_match(fields: Fields, apply_to: ApplyTo) -> PatchMatch:
    """Read ``match``."""
    fields.unsupported({"proxy": "all waypoints here are alike"})
    if apply_to is ApplyTo.CLUSTER:
        return read_cluster(fields)
    fields.unsupported({"cluster": "use a route's"})
    waypoint = fields.child("waypoint")
    port = waypoint.integer("portNumber", 0, 1, 65535)
    if apply_to in {ApplyTo.HTTP_FILTER, ApplyTo.NETWORK_FILTER}:
        fields.unsupported({"routeConfiguration": "a filter is matched by its listener"})
        waypoint.unsupported({"route": "a filter is before all routes"})
        name = read_filter(waypoint.child("filter"))
        waypoint.end()
        found = read_listener(fields.child("listener"))
        name = found.filter or name
        if name and apply_to is ApplyTo.NETWORK_FILTER:
            fields.wrong("", f"{apply_to} is {MANAGER} itself: leave subFilter out")
        return PatchMatch(found.port or port, name, found.chain)
    fields.unsupported({"listener": "what routes do is matched by routeConfiguration"})
    waypoint.unsupported({"filter": "what routes do is matched by a route's name"})
    route = waypoint.child("route")
    name = route.text("name")
    for part in (route, waypoint):
        part.end()
    found = read_configuration(fields.child("routeConfiguration"), apply_to)
    if not waypoint.missing:
        return PatchMatch(port, route=name)
    return found


def read_cluster(fields: Fields) -> PatchMatch:
    """Read ``match`` of a patch for clusters."""
    fields.unsupported(
        dict.fromkeys(("listener", "routeConfiguration", "waypoint"), "use cluster")
    )
    cluster = fields.child("cluster")
    cluster.unsupported({"name": "give service, portNumber and subset"})
    found = PatchMatch(
        port=cluster.integer("portNumber", 0, 1, 65535),
        service=cluster.text("service"),
        subset=cluster.text("subset"),
    )
    cluster.end()
    return found


def read_listener(fields: Fields) -> PatchMatch:
    """Read ``listener``."""
    chain = fields.child("filterChain")
    chain.unsupported(
        dict.fromkeys(
            ("sni", "transportProtocol", "applicationProtocols", "destinationPort"),
            "services have their filter chains by name and portNumber",
        )
    )
    fields.unsupported({"portName": "use portNumber", "listenerFilter": "there are none here"})
    if fields.text("name", LISTENER) != LISTENER:
        fields.wrong("name", f"a waypoint's listener is {LISTENER}")
    found = PatchMatch(
        fields.integer("portNumber", 0, 1, 65535),
        read_filter(chain.child("filter")),
        chain.text("name"),
    )
    for part in (chain, fields):
        part.end()
    return found


def read_filter(fields: Fields) -> str:
    """Read ``filter``: the name of the HTTP filter in it."""
    if fields.text("name", MANAGER) != MANAGER:
        fields.wrong("name", f"HTTP filters are in {MANAGER}")
    inner = fields.child("subFilter")
    name = inner.text("name")
    for part in (inner, fields):
        part.end()
    return name


def read_configuration(fields: Fields, apply_to: ApplyTo) -> PatchMatch:
    """Read ``routeConfiguration``."""
    fields.unsupported(
        {"portName": "use portNumber", "gateway": "these are a waypoint's own routes"}
    )
    host = fields.child("vhost")
    route = host.child("route")
    if apply_to is ApplyTo.ROUTE_CONFIGURATION and not host.missing:
        fields.wrong("vhost", "a ROUTE_CONFIGURATION is above its virtual hosts")
    if apply_to is ApplyTo.VIRTUAL_HOST and not route.missing:
        host.wrong("route", "a VIRTUAL_HOST is above its routes")
    action = route.choice("action", ACTIONS, "ANY")
    found = PatchMatch(
        port=fields.integer("portNumber", 0, 1, 65535),
        configuration=fields.text("name"),
        host=host.text("name"),
        domain=host.text("domainName"),
        route=route.text("name"),
        action="" if action == "ANY" else action,
    )
    for part in (route, host, fields):
        part.end()
    return found


def read_value(patch: Fields, apply_to: ApplyTo, operation: Operation) -> bytes:
    """Read ``value``, which is Envoy's."""
    node = patch.value("value")
    if operation is Operation.REMOVE:
        if node is not None:
            patch.wrong("value", "REMOVE takes none")
        return b""
    if not isinstance(node, yaml.MappingNode):
        patch.wrong("value", "missing: a mapping with what to change")
        return b""
    value: dict[str, Any] = SafeConstructor().construct_document(node)
    try:
        message = parse_value(apply_to, value)
    except EnvoyValueError as error:
        patch.wrong("value", str(error))
        return b""
    if apply_to is ApplyTo.HTTP_FILTER and operation is not Operation.MERGE:
        if not message.name:
            patch.wrong("value", "name: missing")
        if not message.HasField("typed_config"):
            patch.wrong("value", "typed_config: missing")
    content: bytes = message.SerializeToString(deterministic=True)
    return content
