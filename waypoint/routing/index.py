"""The routes that could take a path, without asking each of them.

A route that needs a certain path, or certain segments at its beginning, is looked up;
only the others are asked one after the other. Order is kept: the first match wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from waypoint.routing.conditions import Match
from waypoint.routing.text import Kind, TextMatch, literal_prefix

#: What begins every match of a regular expression is recognized up to so many bytes.
LONGEST_START = 128


class Matched(Protocol):
    """What has conditions."""

    @property
    def match(self) -> Match:
        """Them."""


R = TypeVar("R", bound=Matched)
#: Its place in the order, and whether whoever is found by its path need not ask it.
Entry = tuple[int, R, bool]


def starts(path: bytes) -> Iterator[bytes]:
    """``/a/b/c`` → ``/a``, ``/a/b``, ``/a/b/c``; nothing of what begins with no slash."""
    end = 0 if path[:1] == b"/" else -1
    while end >= 0:
        end = path.find(b"/", end + 1)
        yield path if end < 0 else path[:end]


def required_start(path: TextMatch | None) -> bytes | None:
    """The whole segments that a path must begin with to match; None: none in particular."""
    if path is None or path.ignore_case:
        return None
    match path.kind:
        case Kind.PATH_PREFIX if path.text.startswith("/"):
            return path.text.encode()
        case Kind.PREFIX:
            start = path.text
        case Kind.REGEX:
            start = literal_prefix(path.text, LONGEST_START)
        case _:
            return None
    # It may end within a segment, unless a slash follows.
    whole = start[: start.rfind("/")] if start[:1] == "/" else ""
    return whole.encode() or None


class RouteIndex(Generic[R]):
    """Routes by what their paths need, each with its place in the order."""

    __slots__ = ("exact", "others", "starts")

    def __init__(self, routes: Iterable[R]) -> None:
        self.exact: dict[bytes, list[Entry[R]]] = {}
        #: By the segments that a path begins with: all that such a path may match, those
        #: that need less of it or nothing included. With a start, those above it are here.
        self.starts: dict[bytes, list[Entry[R]]] = {}
        self.others: list[Entry[R]] = []
        needing: dict[bytes, list[Entry[R]]] = {}
        for place, route in enumerate(routes):
            path = route.match.path
            start = required_start(path)
            if path is not None and path.kind is Kind.EXACT and not path.ignore_case:
                entry = place, route, route.match.only_path
                self.exact.setdefault(path.text.encode(), []).append(entry)
            elif path is not None and start is not None:
                whole = path.kind is Kind.PATH_PREFIX
                entry = place, route, whole and route.match.only_path
                needing.setdefault(start, []).append(entry)
            else:
                all_paths = path is None and route.match.only_path
                self.others.append((place, route, all_paths))
                if all_paths:
                    break
        for start in needing:
            found = self.others
            for above in starts(start):
                if above not in self.starts:
                    more = needing.get(above)
                    self.starts[above] = sorted((*found, *more), key=order) if more else found
                found = self.starts[above]

    def candidates(self, path: bytes) -> Sequence[Entry[R]]:
        """Every route that could take a path, in order; path: without its query."""
        found = self.others
        known = self.starts
        # As starts() has them, without the price of a generator.
        end = 0 if path[:1] == b"/" else -1
        while end >= 0:
            end = path.find(b"/", end + 1)
            deeper = known.get(path if end < 0 else path[:end])
            if deeper is None:
                break
            found = deeper
        exact = self.exact.get(path)
        return found if exact is None else sorted((*exact, *found), key=order)


def order(entry: Entry[R]) -> int:
    """A route's place."""
    return entry[0]
