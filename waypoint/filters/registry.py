"""Sorts of filters, by the type of their messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from waypoint.filters.chain import HeadFilter, StepFilter


class Kind(NamedTuple):
    """A sort of filter. Decoders get a message's bytes and where it is; they raise
    RouteError for what they can't honour.

    build: by the configured name, bytes and place; overrides: by the type of a
    route's message, how that is read.
    """

    build: Callable[[str, bytes, str], HeadFilter | StepFilter]
    overrides: Mapping[str, Callable[[bytes, str], Any]]


#: By message type, such as ``envoy.extensions.filters.http.rbac.v3.RBAC``.
Kinds = Mapping[str, Kind]
NO_KINDS: Kinds = {}
