"""Random: each host alike, whatever its weight (Envoy's)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

from waypoint.balancing.draws import redrawn
from waypoint.balancing.host import H


class RandomChoice(Generic[H]):
    """Any host."""

    __slots__ = ("hosts",)

    def __init__(self, hosts: Sequence[H]) -> None:
        self.hosts = hosts

    def pick(self, drawn: float, hash_key: int | None = None, attempt: int = 0) -> H:
        """The host at what was drawn."""
        return self.hosts[int(redrawn(drawn, attempt) * len(self.hosts))]
