"""Who sends a request, as far as routes may ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from waypoint.routing.text import TextMatch


@dataclass(frozen=True, slots=True)
class Source:
    """The workload that a connection was proven to come from; empty: not known."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


#: Nobody that is known: no condition on a source holds, unless inverted.
NOBODY = Source()


@dataclass(frozen=True, slots=True)
class SourceMatch:
    """A condition on the source's namespace, or (label not None) on one of its labels."""

    match: TextMatch
    label: str | None = None
    invert: bool = False

    def accepts(self, source: Source) -> bool:
        """Whether a source satisfies it; what a source doesn't have satisfies nothing."""
        if self.label is None:
            value = source.namespace or None
        else:
            value = source.labels.get(self.label)
        found = value is not None and self.match.test(value.encode())
        return found is not self.invert

    def __str__(self) -> str:
        place = "namespace" if self.label is None else f"label {self.label}"
        return f"source {place} {'not ' * self.invert}{self.match}"
