"""Edits of the route file, as a user would make them in an editor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def with_weights(text: str, weights: Mapping[str, int]) -> str:
    """Return the HTTPRoute with these weights by service; its other rules stay.

    Raises KeyError for a backend that `weights` doesn't name.
    """
    route = yaml.safe_load(text)
    for backend in _split_rule(route)["backendRefs"]:
        backend["weight"] = weights[backend["name"]]
    return _text(route)


def with_header_match(text: str, header: str, value: str, service: str) -> str:
    """Return the HTTPRoute with a first rule: this header goes to this service only."""
    route = yaml.safe_load(text)
    (backend,) = [b for b in _split_rule(route)["backendRefs"] if b["name"] == service]
    rule = {
        "matches": [{"headers": [{"name": header, "value": value}]}],
        "backendRefs": [{key: backend[key] for key in ("name", "port")}],
    }
    route["spec"]["rules"].insert(0, rule)
    return _text(route)


def save(path: Path, text: str) -> None:
    """Replace the file in one step, as editors do: a reader never sees half of it."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.write_text(text)
    scratch.replace(path)


def _split_rule(route: dict[str, Any]) -> dict[str, Any]:
    (rule,) = [rule for rule in route["spec"]["rules"] if len(rule["backendRefs"]) > 1]
    found: dict[str, Any] = rule
    return found


def _text(route: dict[str, Any]) -> str:
    return yaml.safe_dump(route, sort_keys=False)
