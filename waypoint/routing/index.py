"""The routes that could take a path, without asking each of them.

A route that needs a certain path, or a certain first segment of it, is looked up;
only the others are asked one after the other. Order is kept: the first match wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from waypoint.routing.conditions import Match
from waypoint.routing.text import Kind, TextMatch, literal_prefix

#: First segments of regular expressions are recognized up to so many bytes.
LONGEST_SEGMENT = 64


class Matched(Protocol):
    """What has conditions."""

    @property
    def match(self) -> Match:
        """Them."""


R = TypeVar("R", bound=Matched)
Entry = tuple[int, R]


def first_segment(path: bytes) -> bytes:
    """``/a/b`` → ``/a``, ``/a`` → ``/a``, whatever doesn't begin with a slash → empty."""
    if path[:1] != b"/":
        return b""
    end = path.find(b"/", 1)
    return path if end < 0 else path[:end]


def required_segment(path: TextMatch | None) -> bytes | None:
    """The first segment that a path needs to match; None: several would do."""
    if path is None or path.ignore_case:
        return None
    match path.kind:
        case Kind.PATH_PREFIX if path.text.startswith("/"):
            return first_segment(path.text.encode())
        case Kind.PREFIX:
            start = path.text
        case Kind.REGEX:
            start = literal_prefix(path.text, LONGEST_SEGMENT)
        case _:
            return None
    # A prefix may end within the segment, unless a slash follows.
    return first_segment(start.encode()) if start[:1] == "/" and "/" in start[1:] else None


class RouteIndex(Generic[R]):
    """Routes by what their paths need, each with its place in the order."""

    __slots__ = ("exact", "others", "segments")

    def __init__(self, routes: Iterable[R]) -> None:
        self.exact: dict[bytes, list[Entry[R]]] = {}
        #: By first segment, those included that any segment may have.
        self.segments: dict[bytes, list[Entry[R]]] = {}
        self.others: list[Entry[R]] = []
        segments: dict[bytes, list[Entry[R]]] = {}
        for entry in enumerate(routes):
            path = entry[1].match.path
            segment = required_segment(path)
            if path is not None and path.kind is Kind.EXACT and not path.ignore_case:
                self.exact.setdefault(path.text.encode(), []).append(entry)
            elif segment is not None:
                segments.setdefault(segment, []).append(entry)
            else:
                self.others.append(entry)
                if path is None and entry[1].match.only_path:
                    break
        for segment, entries in segments.items():
            self.segments[segment] = sorted((*entries, *self.others), key=order)

    def candidates(self, path: bytes) -> Iterable[Entry[R]]:
        """Every route that could take a path, in order; path: without its query."""
        found = self.segments.get(first_segment(path), self.others)
        exact = self.exact.get(path)
        return found if exact is None else sorted((*exact, *found), key=order)


def order(entry: Entry[R]) -> int:
    """A route's place."""
    return entry[0]
