"""Every filter that there is."""

from __future__ import annotations

from waypoint.filters.registry import Kinds

KINDS: Kinds = {}
