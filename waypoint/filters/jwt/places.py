"""Where requests have tokens, and how one is taken out again: Envoy's semantics."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from waypoint.messages import Field

#: What a token has; before it in a header's value, anything else is passed over.
FIRST = re.compile(rb"[A-Za-z0-9_.-]")
AUTHORIZATION = b"authorization"


@dataclass(frozen=True, slots=True, order=True)
class HeaderPlace:
    """After a prefix, somewhere in a header's value; name: in lower case."""

    name: bytes
    prefix: bytes = b""

    def find(self, fields: Iterable[Field], path: bytes) -> list[bytes]:
        """The tokens there."""
        values = [value for name, value in fields if name == self.name]
        if self.name == AUTHORIZATION and values:
            # There may be one (RFC 9110 section 11.6.2); several are no token.
            values = [b",".join(values)]
        found = []
        for value in values:
            at = value.find(self.prefix)
            if at < 0:
                continue
            start = FIRST.search(value, at + len(self.prefix)) if self.prefix else None
            found.append(value[start.start() :] if start else value)
        return found

    def without(self, fields: list[Field], path: bytes) -> tuple[list[Field], bytes]:
        """A request without what is there."""
        return [field for field in fields if field[0] != self.name], path


@dataclass(frozen=True, slots=True, order=True)
class ParamPlace:
    """A query parameter's value."""

    name: bytes

    def find(self, fields: Iterable[Field], path: bytes) -> list[bytes]:
        """The token there: the first value of its name counts."""
        for item in path.partition(b"?")[2].split(b"&"):
            name, _, value = item.partition(b"=")
            if unquote_to_bytes(name) == self.name:
                return [unquote_to_bytes(value)]
        return []

    def without(self, fields: list[Field], path: bytes) -> tuple[list[Field], bytes]:
        """A request without what is there."""
        bare, mark, query = path.partition(b"?")
        if not mark:
            return fields, path
        kept = [
            item
            for item in query.split(b"&")
            if unquote_to_bytes(item.partition(b"=")[0]) != self.name
        ]
        return fields, bare + b"?" + b"&".join(kept) if kept else bare


@dataclass(frozen=True, slots=True, order=True)
class CookiePlace:
    """A cookie's value."""

    name: bytes

    def find(self, fields: Iterable[Field], path: bytes) -> list[bytes]:
        """The token there: the first cookie of its name counts."""
        for name, value in fields:
            if name != b"cookie":
                continue
            for pair in value.split(b";"):
                key, _, held = pair.strip(b" \t").partition(b"=")
                if key == self.name:
                    quoted = len(held) > 1 and held[:1] == held[-1:] == b'"'
                    return [held[1:-1] if quoted else held]
        return []

    def without(self, fields: list[Field], path: bytes) -> tuple[list[Field], bytes]:
        """The request as it is: cookies stay, as with Envoy."""
        return fields, path


Place = HeaderPlace | ParamPlace | CookiePlace
#: Where tokens are when nothing else is said.
DEFAULT: tuple[Place, ...] = (
    HeaderPlace(AUTHORIZATION, b"Bearer "),
    ParamPlace(b"access_token"),
)
ORDER = (HeaderPlace, ParamPlace, CookiePlace)


class Found(NamedTuple):
    """A token where it is; issuers: whose may be there, None: anybody's."""

    text: str
    place: Place
    issuers: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Places:
    """Where the tokens of some issuers may be, in the order in which they are looked for."""

    issuers: tuple[tuple[Place, frozenset[str] | None], ...]

    def find(self, fields: list[Field], path: bytes) -> list[Found]:
        """All tokens of a request."""
        return [
            Found(text.decode("latin-1"), place, issuers)
            for place, issuers in self.issuers
            for text in place.find(fields, path)
        ]


def places_of(providers: Iterable[tuple[str, tuple[Place, ...]]]) -> Places:
    """The places of some providers, each an issuer (empty: any) and where its tokens are."""
    found: dict[Place, set[str]] = {}
    for issuer, places in providers:
        for place in places or DEFAULT:
            found.setdefault(place, set()).add(issuer)
    ordered = sorted(found, key=lambda place: (ORDER.index(type(place)), place))
    return Places(
        tuple(
            (place, None if "" in found[place] else frozenset(found[place]))
            for place in ordered
        )
    )
