"""The filter that stands in for a chain that can't be honoured: it refuses everything."""

from __future__ import annotations

from dataclasses import dataclass

from waypoint.filters.chain import Chain, Placed
from waypoint.filters.verdicts import Asked, Refusal

REJECTED = Refusal(503, b"filter configuration rejected\n", "filters_rejected", "UAEX")


@dataclass(frozen=True, slots=True)
class RefuseAll:
    """What might have been let in by a policy that wasn't understood isn't."""

    name: str = "tandem.refuse_all"
    clusters: tuple[str, ...] = ()
    reads_connection: bool = False
    reads_path: bool = False

    def decide(self, asked: Asked) -> Refusal:
        """No."""
        return REJECTED


def refusing_chain() -> Chain:
    """A chain that lets nothing through."""
    return Chain((Placed(RefuseAll()),))
