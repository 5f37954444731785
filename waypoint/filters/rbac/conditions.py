"""What permissions and principals ask of a request and its connection: values, pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from waypoint.filters.rbac.templates import PathTemplate
from waypoint.filters.verdicts import Asked
from waypoint.routing.conditions import HeaderMatch
from waypoint.routing.notes import NoteMatch
from waypoint.routing.templates import Address
from waypoint.routing.text import TextMatch

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


#: Identities that a condition on them remembers its answer for.
IDENTITIES = 1024


class Condition(Protocol):
    """A condition. reads_connection: two clients' equal heads may differ in it; reads_path:
    two heads that differ in their paths alone.
    """

    @property
    def reads_connection(self) -> bool:
        """See above."""

    @property
    def reads_path(self) -> bool:
        """See above."""

    def holds(self, asked: Asked) -> bool:
        """Whether a request satisfies it."""


@lru_cache(maxsize=4096)
def address_of(text: str) -> IpAddress | None:
    """A textual address, v4-mapped ones as IPv4; None: it is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_within(address: Address | None, network: IpNetwork) -> bool:
    """Whether an address, if there is one, is in a range of its family."""
    found = address_of(address[0]) if address is not None else None
    return found is not None and found.version == network.version and found in network


@dataclass(frozen=True, slots=True)
class Anything:
    """Always so."""

    reads_connection: bool = False
    reads_path: bool = False

    def holds(self, asked: Asked) -> bool:
        """Yes."""
        return True


@dataclass(frozen=True, slots=True)
class All:
    """Every one of them."""

    parts: tuple[Condition, ...]

    @property
    def reads_connection(self) -> bool:
        """Whether one of them does."""
        return any(part.reads_connection for part in self.parts)

    @property
    def reads_path(self) -> bool:
        """Whether one of them does."""
        return any(part.reads_path for part in self.parts)

    def holds(self, asked: Asked) -> bool:
        """Whether all hold."""
        return all(part.holds(asked) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Either:
    """One of them."""

    parts: tuple[Condition, ...]

    @property
    def reads_connection(self) -> bool:
        """Whether one of them does."""
        return any(part.reads_connection for part in self.parts)

    @property
    def reads_path(self) -> bool:
        """Whether one of them does."""
        return any(part.reads_path for part in self.parts)

    def holds(self, asked: Asked) -> bool:
        """Whether any holds."""
        return any(part.holds(asked) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary."""

    part: Condition

    @property
    def reads_connection(self) -> bool:
        """Whether that does."""
        return self.part.reads_connection

    @property
    def reads_path(self) -> bool:
        """Whether that does."""
        return self.part.reads_path

    def holds(self, asked: Asked) -> bool:
        """Whether it doesn't hold."""
        return not self.part.holds(asked)


@dataclass(frozen=True, slots=True)
class Header:
    """A header, or a pseudo-header."""

    match: HeaderMatch
    reads_connection: bool = False

    @property
    def reads_path(self) -> bool:
        """Whether that is the header."""
        return self.match.key == b":path"

    def holds(self, asked: Asked) -> bool:
        """Whether the request's does."""
        return self.match.accepts(asked.request)


@dataclass(frozen=True, slots=True)
class Path:
    """The path without its query."""

    match: TextMatch | PathTemplate
    reads_connection: bool = False
    reads_path: bool = True

    def holds(self, asked: Asked) -> bool:
        """Whether the request's does."""
        return self.match.test(asked.request.path.partition(b"?")[0])


@dataclass(frozen=True, slots=True)
class Noted:
    """What a filter before this one found out."""

    match: NoteMatch
    reads_connection: bool = False
    reads_path: bool = False

    def holds(self, asked: Asked) -> bool:
        """Whether the notes satisfy it."""
        return self.match.accepts(asked.notes)


@dataclass(frozen=True, slots=True)
class LocalPort:
    """The port that was asked for. It is the target's, so equal for all its clients."""

    ports: range
    reads_connection: bool = False
    reads_path: bool = False

    def holds(self, asked: Asked) -> bool:
        """Whether it is one of them."""
        local = asked.facts.local
        return local is not None and local[1] in self.ports


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """The address that was asked for."""

    network: IpNetwork
    reads_connection: bool = True
    reads_path: bool = False

    def holds(self, asked: Asked) -> bool:
        """Whether it is in the range."""
        return is_within(asked.facts.local, self.network)


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """The client's address; a waypoint believes no X-Forwarded-For."""

    network: IpNetwork
    reads_connection: bool = True
    reads_path: bool = False

    def holds(self, asked: Asked) -> bool:
        """Whether it is in the range."""
        return is_within(asked.facts.remote, self.network)


@dataclass(frozen=True, slots=True)
class ServerName:
    """The server's name that TLS asks for, empty where it asks for none."""

    match: TextMatch
    reads_connection: bool = True
    reads_path: bool = False

    def holds(self, asked: Asked) -> bool:
        """Whether it satisfies the match."""
        return self.match.test(asked.facts.server_name.encode())


@dataclass(frozen=True, slots=True)
class Identity:
    """The client's SPIFFE ID, as it was proven; match None: whatever it is."""

    match: TextMatch | None
    reads_connection: bool = True
    reads_path: bool = False
    test: Callable[[str], bool] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        match = self.match
        test = bool if match is None else lambda identity: match.test(identity.encode())
        # There are few clients, beside their requests.
        object.__setattr__(self, "test", lru_cache(maxsize=IDENTITIES)(test))

    def holds(self, asked: Asked) -> bool:
        """Whether there is one, and it satisfies the match."""
        identity = asked.facts.identity
        return identity != "" and self.test(identity)


def of_head(condition: Condition) -> Iterator[str]:
    """What of a condition only requests have, in words."""
    match condition:
        case All(parts) | Either(parts):
            for part in parts:
                yield from of_head(part)
        case Not(part):
            yield from of_head(part)
        case Header() | Path() | Noted():
            yield type(condition).__name__.lower()
