"""PythonFilters as HttpFilters."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import partial
from typing import Any

from google.protobuf import json_format
from xds.type.v3.typed_struct_pb2 import TypedStruct

from deploy.standalone.control.pluginapi import Phase, PythonFilter
from deploy.standalone.control.translate.frontends import HTTP
from deploy.standalone.control.translate.sight import PODS, Found, Sight, http_filter
from deploy.standalone.control.translate.targets import find_targeted

TYPE_URL = "type.googleapis.com/tandem.PythonFilter"


def plugin_name(plugin: PythonFilter) -> str:
    """The name of a plug-in's filter, by which routes and other filters mean it."""
    return f"tandem.plugin.{plugin.namespace}.{plugin.name}"


def find_plugins(phase: Phase, sight: Sight) -> Found:
    """The plug-ins of a phase, the greatest priority first, then by name."""
    found: Found = defaultdict(dict)
    every = sight.world.plugins.values()
    ordered = sorted(every, key=lambda each: (-each.priority, each.namespace, each.name))
    for plugin in ordered:
        if plugin.phase is not phase:
            continue
        made = http_filter(plugin_name(plugin), settings(plugin))
        targeted = find_targeted(plugin.targets, plugin.namespace, sight)
        for frontend in targeted.frontends:
            ports = frontend.speaking(HTTP)
            if not ports:
                sight.problems.append(
                    plugin.origin.notice(
                        "spec.targetRefs",
                        f"{frontend} has no port that speaks HTTP: name one http",
                    )
                )
            for port in ports if frontend.waypoint is not None else ():
                found[frontend.key].setdefault(port, []).append(made)
        for key in targeted.gateways.values():
            found[key].setdefault(PODS, []).append(made)
    return found


def settings(plugin: PythonFilter) -> Any:
    """What a waypoint is told of a plug-in."""
    told: dict[str, Any] = {"config": json.loads(plugin.config), "failOpen": plugin.fail_open}
    if plugin.code:
        told |= {"code": plugin.code, "className": plugin.class_name}
    else:
        told["entryPoint"] = plugin.entry_point
    if plugin.timeout:
        told["timeout"] = plugin.timeout
    if plugin.memory:
        told["memory"] = plugin.memory
    made = TypedStruct(type_url=TYPE_URL)
    json_format.ParseDict(told, made.value)
    return made


authn_plugins = partial(find_plugins, Phase.AUTHN)
authz_plugins = partial(find_plugins, Phase.AUTHZ)
stats_plugins = partial(find_plugins, Phase.STATS)
last_plugins = partial(find_plugins, Phase.LAST)
