"""What is asked of what filters found out: Envoy's matchers of dynamic metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from waypoint.routing.text import TextMatch

#: By filter: what it found out about a request, JSON-able (Envoy's dynamic metadata).
Notes = Mapping[str, Any]
NO_NOTES: Notes = {}
#: What isn't there, unlike what is null.
ABSENT = object()


@dataclass(frozen=True, slots=True)
class IsText:
    """A text that matches."""

    match: TextMatch

    def accepts(self, value: Any) -> bool:
        """Whether a value is that."""
        return isinstance(value, str) and self.match.test(value.encode())

    def __str__(self) -> str:
        return str(self.match)


@dataclass(frozen=True, slots=True)
class IsBool:
    """True, or false."""

    wanted: bool

    def accepts(self, value: Any) -> bool:
        """Whether a value is that."""
        return value is self.wanted

    def __str__(self) -> str:
        return f"is {str(self.wanted).lower()}"


@dataclass(frozen=True, slots=True)
class IsNull:
    """Null."""

    def accepts(self, value: Any) -> bool:
        """Whether a value is that."""
        return value is None

    def __str__(self) -> str:
        return "is null"


@dataclass(frozen=True, slots=True)
class IsNumber:
    """A number from start on and below end; both equal: that one."""

    start: float
    end: float

    def accepts(self, value: Any) -> bool:
        """Whether a value is that."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return value == self.start or self.start <= value < self.end

    def __str__(self) -> str:
        if self.start == self.end:
            return f"is {self.start:g}"
        return f"is from {self.start:g} on and below {self.end:g}"


@dataclass(frozen=True, slots=True)
class IsPresent:
    """Any value at all; wanted False: nothing satisfies it, as in Envoy."""

    wanted: bool

    def accepts(self, value: Any) -> bool:
        """Whether there is a value."""
        return self.wanted and value is not ABSENT

    def __str__(self) -> str:
        return "is there" if self.wanted else "is never so"


@dataclass(frozen=True, slots=True)
class HasOne:
    """A list, one of whose elements does."""

    match: ValueMatch

    def accepts(self, value: Any) -> bool:
        """Whether a value is that."""
        return isinstance(value, list | tuple) and any(map(self.match.accepts, value))

    def __str__(self) -> str:
        return f"has one that {self.match}"


@dataclass(frozen=True, slots=True)
class IsOne:
    """What one of these takes."""

    matches: tuple[ValueMatch, ...]

    def accepts(self, value: Any) -> bool:
        """Whether a value is that."""
        return any(match.accepts(value) for match in self.matches)

    def __str__(self) -> str:
        return " or ".join(map(str, self.matches))


ValueMatch = IsText | IsBool | IsNull | IsNumber | IsPresent | HasOne | IsOne


@dataclass(frozen=True, slots=True)
class NoteMatch:
    """A condition on what a filter noted; path: the names that lead to the value."""

    filter: str
    path: tuple[str, ...]
    match: ValueMatch
    invert: bool = False

    def accepts(self, notes: Notes) -> bool:
        """Whether notes fulfil it."""
        return self.match.accepts(self.value(notes)) is not self.invert

    def value(self, notes: Notes) -> Any:
        """What is at the path, or ABSENT."""
        value: Any = notes.get(self.filter, ABSENT)
        for name in self.path:
            if not isinstance(value, Mapping):
                return ABSENT
            value = value.get(name, ABSENT)
        return value

    def __str__(self) -> str:
        path = "".join(f"[{name}]" for name in self.path)
        return f"{self.filter}{path} {'not ' * self.invert}{self.match}"
