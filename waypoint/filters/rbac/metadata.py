"""Conditions on what filters found out, such as a token's claims: Envoy's MetadataMatcher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from waypoint.filters.verdicts import Notes
from waypoint.routing.text import TextMatch


class Missing:
    """There is no such value (null is one)."""


MISSING = Missing()


@dataclass(frozen=True, slots=True)
class Text:
    """A text."""

    match: TextMatch

    def accepts(self, value: Any) -> bool:
        """Whether a value is one that satisfies the match."""
        return isinstance(value, str) and self.match.test(value.encode())


@dataclass(frozen=True, slots=True)
class Null:
    """Null."""

    def accepts(self, value: Any) -> bool:
        """Whether a value is that."""
        return value is None


@dataclass(frozen=True, slots=True)
class Truth:
    """True, or false."""

    wanted: bool

    def accepts(self, value: Any) -> bool:
        """Whether a value is that one."""
        return value is self.wanted


@dataclass(frozen=True, slots=True)
class Number:
    """A number from start on and below end; both equal: that one."""

    start: float
    end: float

    def accepts(self, value: Any) -> bool:
        """Whether a value is one of these."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return value == self.start or self.start <= value < self.end


@dataclass(frozen=True, slots=True)
class Present:
    """Any value at all; wanted False: nothing satisfies it, as in Envoy."""

    wanted: bool

    def accepts(self, value: Any) -> bool:
        """Whether there is one."""
        return self.wanted and value is not MISSING


@dataclass(frozen=True, slots=True)
class OneOf:
    """A list with such a value in it."""

    match: ValueMatch

    def accepts(self, value: Any) -> bool:
        """Whether a value is one."""
        return isinstance(value, list | tuple) and any(map(self.match.accepts, value))


@dataclass(frozen=True, slots=True)
class EitherValue:
    """One of several."""

    matches: tuple[ValueMatch, ...]

    def accepts(self, value: Any) -> bool:
        """Whether any of them takes a value."""
        return any(match.accepts(value) for match in self.matches)


ValueMatch = Text | Null | Truth | Number | Present | OneOf | EitherValue


@dataclass(frozen=True, slots=True)
class MetadataMatch:
    """A condition on a value under a filter's name, found by a path of keys."""

    filter: str
    path: tuple[str, ...]
    value: ValueMatch
    invert: bool = False

    def accepts(self, notes: Notes) -> bool:
        """Whether what was noted satisfies it; what isn't there satisfies nothing."""
        found: Any = notes.get(self.filter, {})
        for key in self.path:
            found = found.get(key, MISSING) if isinstance(found, Mapping) else MISSING
        return self.value.accepts(found) is not self.invert
