"""What tokens are asked for, as frozen values: Envoy's JwtAuthentication."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from waypoint.filters.jwt.places import Place, Places, places_of
from waypoint.filters.jwt.slots import Slot
from waypoint.routing.conditions import Match
from waypoint.routing.text import TextMatch

#: Seconds that clocks may differ.
SKEW = 60


def bare_audience(text: str) -> str:
    """An audience as it is compared: its scheme and last slash make no difference."""
    for scheme in ("http://", "https://"):
        text = text.removeprefix(scheme)
    return text.removesuffix("/")


@dataclass(frozen=True, slots=True)
class ClaimHeader:
    """A claim that becomes a header; path: its name, and those of what it is in."""

    name: bytes
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Provider:
    """Whose tokens are taken. issuer: empty for anybody; audiences: empty for any.

    lifetime: seconds until a token's end at most, infinite: it must have one, None: it
    need not. forward: the token stays in the request. The headers and notes are names
    of what is made of a good token (failure_note: of a bad one), or empty.
    """

    name: str
    slot: Slot
    issuer: str = ""
    audiences: frozenset[str] = frozenset()
    subjects: TextMatch | None = None
    lifetime: float | None = None
    skew: int = SKEW
    places: tuple[Place, ...] = ()
    forward: bool = False
    payload_header: bytes = b""
    padded: bool = False
    claim_headers: tuple[ClaimHeader, ...] = ()
    payload_note: str = ""
    header_note: str = ""
    failure_note: str = ""
    space_delimited: tuple[str, ...] = ()
    clear_route_cache: bool = False
    found_at: Places = field(init=False, repr=False)
    #: Headers that nobody but this may set.
    reserved: frozenset[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "found_at", places_of([(self.issuer, self.places)]))
        names = {self.payload_header, *(header.name for header in self.claim_headers)}
        object.__setattr__(self, "reserved", frozenset(names - {b""}))


@dataclass(frozen=True, slots=True)
class ByProvider:
    """Good tokens of a provider; audiences: other ones than its own, or None."""

    provider: Provider
    audiences: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class AllowMissing:
    """No token, or good ones of any provider."""


@dataclass(frozen=True, slots=True)
class AllowFailed:
    """Anything; what good tokens say is told."""


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of these; missing, failed: or no token, or anything."""

    requirements: tuple[Requirement, ...]
    missing: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of these."""

    requirements: tuple[Requirement, ...]


Requirement = ByProvider | AllowMissing | AllowFailed | AnyOf | AllOf


@dataclass(frozen=True, slots=True)
class Rule:
    """What requests that match need, None: nothing."""

    match: Match
    requirement: Requirement | None


@dataclass(frozen=True, slots=True)
class Override:
    """A route's own: the requirement of that name."""

    requirement: str


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """Providers in their names' order; the first rule that matches counts.

    named: requirements for routes to name; strip: nobody is told why.
    """

    providers: tuple[Provider, ...]
    rules: tuple[Rule, ...]
    named: Mapping[str, Requirement | None]
    bypass_preflight: bool = False
    strip: bool = False
    everywhere: Places = field(init=False, repr=False)
    reserved: frozenset[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        places = places_of((each.issuer, each.places) for each in self.providers)
        object.__setattr__(self, "everywhere", places)
        reserved = [each.reserved for each in self.providers]
        object.__setattr__(self, "reserved", frozenset().union(*reserved))

    def of_issuer(self, issuer: str) -> Provider | None:
        """Whose tokens of an issuer are: its own provider's, or one's that takes any."""
        found = [each for each in self.providers if each.issuer == issuer]
        found += [each for each in self.providers if not each.issuer]
        return found[0] if found else None
