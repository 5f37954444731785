"""Plug-ins from their message, a TypedStruct."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.json_format import MessageToDict
from xds.type.v3.typed_struct_pb2 import TypedStruct

from waypoint.errors import RouteError
from waypoint.filters.plugin.filter import PluginFilter
from waypoint.filters.plugin.spec import MEMORY, TIMEOUT, PluginSpec
from waypoint.filters.registry import Kind

TYPE = TypedStruct.DESCRIPTOR.full_name
TYPE_URL = "type.googleapis.com/tandem.PythonFilter"
FIELDS = {
    "code", "className", "entryPoint", "config", "failOpen", "timeout", "memory",
}  # fmt: skip
#: Characters of code and configuration at most.
MOST_CODE = 64 * 1024
LONGEST = 60.0
LEAST_MEMORY, MOST_MEMORY = 16 << 20, 16 << 30


def build(name: str, value: bytes, at: str) -> PluginFilter:
    """Read a plug-in; raises RouteError."""
    message = TypedStruct.FromString(value)
    if message.type_url != TYPE_URL:
        raise RouteError(f"{at}type_url {message.type_url!r} is not {TYPE_URL!r}")
    given = MessageToDict(message.value)
    if unknown := sorted(given.keys() - FIELDS):
        known = ", ".join(sorted(FIELDS))
        raise RouteError(f"{at}value.{unknown[0]} is not known here: known are {known}")
    code, entry_point = read_text(given, "code", at), read_text(given, "entryPoint", at)
    class_name = read_text(given, "className", at)
    if bool(code) is bool(entry_point) or bool(code) is not bool(class_name):
        raise RouteError(f"{at}value: give code and className, or entryPoint")
    config = given.get("config", {})
    if not isinstance(config, dict):
        raise RouteError(f"{at}value.config is no object: {config!r:.80}")
    fail_open = given.get("failOpen", False)
    if not isinstance(fail_open, bool):
        raise RouteError(f"{at}value.failOpen {fail_open!r} is neither true nor false")
    text = json.dumps(whole_numbers(config), sort_keys=True)
    if max(len(code), len(text)) > MOST_CODE:
        raise RouteError(f"{at}value: more than {MOST_CODE} characters of code or config")
    spec = PluginSpec(
        name,
        code=code,
        class_name=class_name,
        entry_point=entry_point,
        config=text,
        fail_open=fail_open,
        timeout=number(given, "timeout", TIMEOUT, (0.001, LONGEST), at),
        memory=int(number(given, "memory", MEMORY, (LEAST_MEMORY, MOST_MEMORY), at)),
    )
    return PluginFilter(spec)


def read_text(given: dict[str, Any], name: str, at: str) -> str:
    """A text, empty when it isn't there; raises RouteError."""
    found = given.get(name, "")
    if not isinstance(found, str):
        raise RouteError(f"{at}value.{name} is no text: {found!r:.80}")
    return found


def number(
    given: dict[str, Any], name: str, default: float, span: tuple[float, float], at: str
) -> float:
    """A number within a span, default when it isn't there; raises RouteError."""
    found = given.get(name, default)
    if found == default:
        return default
    low, high = span
    if (
        isinstance(found, bool)
        or not isinstance(found, int | float)
        or not low <= found <= high
    ):
        raise RouteError(f"{at}value.{name} {found!r} is not from {low:g} to {high:g}")
    return float(found)


def whole_numbers(value: Any) -> Any:
    """JSON as it was before a Struct made every number a float."""
    if isinstance(value, dict):
        return {key: whole_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [whole_numbers(inner) for inner in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


KIND = Kind(build, {})
