"""Local limits as values, and which buckets a request takes of: pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from waypoint.filters.descriptors import Descriptor, Entry, HostLimits
from waypoint.filters.local_limit.bucket import SECOND, Bucket, Level, remaining, reset, wait
from waypoint.messages import Field
from waypoint.routing.conditions import Fraction
from waypoint.routing.edits import Edits
from waypoint.routing.limits import RateLimit
from waypoint.routing.table import Route

BODY = b"local_rate_limited"
DETAILS = "local_rate_limited"
#: The access log's flag.
LIMITED = "RL"
#: gRPC's RESOURCE_EXHAUSTED.
RESOURCE_EXHAUSTED = 8
RETRY_AFTER = b"retry-after"
#: Where an override stands (see decode.overrides): its virtual host, and whether its route.
PLACE = re.compile(r"virtual_hosts\[(\d+)\]\.(routes\[)?")
NEVER = Fraction(0, 100)
#: The name of the bucket that isn't a descriptor's.
DEFAULT = b"default"


@dataclass(frozen=True, slots=True)
class Limit:
    """A descriptor's own bucket; a value that is empty stands for any, each with a bucket
    of its own.
    """

    entries: tuple[Entry, ...]
    bucket: Bucket

    @property
    def dynamic(self) -> bool:
        """Whether requests' values bring its buckets about."""
        return any(not value for _, value in self.entries)

    def accepts(self, entries: tuple[Entry, ...]) -> bool:
        """Whether a request's descriptor is one of these; keys are equal already."""
        return all(
            not wanted or wanted == value
            for (_, wanted), (_, value) in zip(self.entries, entries, strict=True)
        )


@dataclass(frozen=True, slots=True)
class LocalLimit:
    """What is configured at one place.

    bucket: of requests that no descriptor is for, or (always) of all; None: unlimited;
    enabled, enforced: the shares of requests that are counted, and refused; status,
    answer: of a refusal; unenforced: what is done to requests that would be refused;
    own: what requests count as, where that isn't their route's to say; per_connection:
    each connection has buckets of its own; tells: responses say how much is left.
    """

    prefix: str
    bucket: Bucket | None = None
    enabled: Fraction = NEVER
    enforced: Fraction = NEVER
    status: int = 429
    answer: Edits = field(default_factory=Edits)
    unenforced: Edits = field(default_factory=Edits)
    limits: tuple[Limit, ...] = ()
    own: tuple[RateLimit, ...] = ()
    stage: int = 0
    host: HostLimits | None = None
    per_connection: bool = False
    tells: bool = False
    exhausted: bool = False
    always: bool = True
    exact: dict[tuple[Entry, ...], Limit] = field(init=False, compare=False, repr=False)
    #: By their keys, in order.
    dynamic: dict[tuple[str, ...], tuple[Limit, ...]] = field(
        init=False, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        exact = {limit.entries: limit for limit in self.limits if not limit.dynamic}
        dynamic: dict[tuple[str, ...], tuple[Limit, ...]] = {}
        for limit in self.limits:
            if limit.dynamic:
                keys = tuple(key for key, _ in limit.entries)
                dynamic[keys] = (*dynamic.get(keys, ()), limit)
        object.__setattr__(self, "exact", exact)
        object.__setattr__(self, "dynamic", dynamic)

    @property
    def inert(self) -> bool:
        """Whether it never counts a request."""
        return not self.enabled.numerator or (self.bucket is None and not self.limits)


class Choice(NamedTuple):
    """A bucket to take of. name: within its place; dynamic: a request's value brought it
    about; tokens: how many.
    """

    name: bytes
    bucket: Bucket
    dynamic: bool = False
    tokens: int = 1


def choices(limit: LocalLimit, found: Iterable[Descriptor]) -> tuple[Choice, ...]:
    """The buckets that a request takes of, in order: the slowest first, so that mostly
    who is refused took nothing of the others; found: its descriptors.
    """
    chosen = [each for each in (choice(limit, d) for d in found) if each is not None]
    if len(chosen) > 1:
        chosen.sort(key=lambda each: each.bucket.rate)
    if limit.bucket is not None and (limit.always or not chosen):
        chosen.append(Choice(DEFAULT, limit.bucket))
    return tuple(chosen)


def choice(limit: LocalLimit, found: Descriptor) -> Choice | None:
    """The bucket of a descriptor, if there is one."""
    entries = found.entries
    limited = limit.exact.get(entries)
    if limited is None and limit.dynamic:
        keys = tuple(key for key, _ in entries)
        limited = next((d for d in limit.dynamic.get(keys, ()) if d.accepts(entries)), None)
    if limited is None:
        return None
    tokens = 1 if found.hits is None else found.hits
    return Choice(name_of(limited, entries), limited.bucket, limited.dynamic, tokens)


def name_of(limit: Limit, entries: tuple[Entry, ...]) -> bytes:
    """A bucket's name: of the configured entries and, where they are others, the request's."""
    named = (limit.entries, entries) if limit.dynamic else (limit.entries,)
    return b"\0\0".join(
        b"\0".join(part.encode() for entry in each for part in entry) for each in named
    )


def scope(target: str, port: int, name: str, at: str, route: Route | None) -> bytes:
    """What sets the buckets of one place apart from those of others, whatever else a push
    changes. at: where the settings stand; route: of the request.
    """
    place = PLACE.match(at)
    parts = [target, str(port), name]
    if place is not None:
        parts.append(place[1])
        if place[2] and route is not None:
            parts += [route.name, *route.match.conditions()]
    return "\0".join(parts).encode() + b"\0\0\0"


def told(bucket: Bucket, level: Level) -> tuple[Field, ...]:
    """What a response says of a bucket (the draft on RateLimit headers, version 3)."""
    return (
        (b"x-ratelimit-limit", b"%d" % bucket.size),
        (b"x-ratelimit-remaining", b"%d" % remaining(bucket, level)),
        (b"x-ratelimit-reset", b"%d" % reset(bucket, level)),
    )


def retry_after(bucket: Bucket, level: Level, tokens: int) -> Field:
    """When to come again."""
    seconds = -(-wait(bucket, level, tokens) // SECOND)
    return (RETRY_AFTER, b"%d" % max(1, seconds))
