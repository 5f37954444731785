"""Domain values as JSON-able ones, for people to read."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import IntEnum
from functools import cache
from typing import Any

from ztunnel_compat.model import Extension, GatewayAddress, NetworkAddress


def plain(value: Any) -> Any:
    """Render a value of ``model``.

    Dataclasses become objects without the fields that have their default,
    enums their name, addresses their text, an extension's bytes their number.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, IntEnum):
        return value.name
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return str(ipaddress.ip_address(value))
    if isinstance(value, NetworkAddress | GatewayAddress):
        return str(value)
    if isinstance(value, Extension):
        return {"name": value.name, "type_url": value.type_url, "bytes": len(value.value)}
    if is_dataclass(value):
        kind: Any = type(value)
        return {
            name: plain(item)
            for name, default in defaults(kind)
            if (item := getattr(value, name)) != default
        }
    return value


@cache
def defaults(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    """A dataclass's fields and what each is when nobody says; MISSING: must be said."""
    return tuple(
        (
            field.name,
            field.default if field.default_factory is MISSING else field.default_factory(),
        )
        for field in fields(kind)
    )
