"""Requests as decisions see them, in few words."""

from __future__ import annotations

from waypoint.messages import Field, Request


def request(path: str = "/", *lines: str, host: str = "a.test", method: str = "GET") -> Request:
    """A request; lines: ``name: value``."""
    pairs = (line.partition(":") for line in lines)
    fields = tuple((name.lower().encode(), value.strip().encode()) for name, _, value in pairs)
    return Request(method.encode(), b"http", host.encode(), path.encode(), fields)


def values(fields: tuple[Field, ...], name: str) -> list[str]:
    """A header's values."""
    return [value.decode() for found, value in fields if found == name.encode()]
