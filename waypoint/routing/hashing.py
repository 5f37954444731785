"""What keeps a client with an endpoint: a hash of parts of its requests, as Envoy's."""

from __future__ import annotations

from dataclasses import dataclass

import xxhash

from waypoint.messages import Field, Request
from waypoint.routing.conditions import parse_query, values_of
from waypoint.routing.text import Substitution

MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class HashHeader:
    """A header's values, each with an expression's matches replaced."""

    name: bytes
    substitution: Substitution | None = None
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class HashCookie:
    """A cookie's value.

    lifetime: seconds; a client that has no such cookie is given one (0: for its
    session); None: it isn't. attributes: further ones, value empty: the name alone.
    """

    name: bytes
    lifetime: int | None = None
    path: bytes = b""
    attributes: tuple[tuple[bytes, bytes], ...] = ()
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class HashSource:
    """The client's address."""

    terminal: bool = False


@dataclass(frozen=True, slots=True)
class HashQuery:
    """A query parameter's first value."""

    name: bytes
    terminal: bool = False


HashPolicy = HashHeader | HashCookie | HashSource | HashQuery


@dataclass(frozen=True, slots=True)
class Affinity:
    """number: 64 bits, None: nothing to go by; fields: what the response gets beside."""

    number: int | None
    fields: tuple[Field, ...] = ()


def affinity(
    request: Request, policies: tuple[HashPolicy, ...], address: str, fresh: bytes
) -> Affinity:
    """What a request hashes to.

    address: the client's, as text without a port; fresh: the value for a cookie that
    is given now, which nobody else was given.
    """
    number: int | None = None
    fields: list[Field] = []
    for policy in policies:
        values = hashed(request, policy, address)
        if not values and isinstance(policy, HashCookie) and policy.lifetime is not None:
            values = [fresh]
            fields.append((b"set-cookie", set_cookie(policy, fresh)))
        if values:
            # Turned, so that two equal policies don't cancel each other out.
            turned = 0 if number is None else ((number << 1) | (number >> 63)) & MASK
            number = turned ^ digest(values)
        if policy.terminal and number is not None:
            break
    return Affinity(number, tuple(fields))


def hashed(request: Request, policy: HashPolicy, address: str) -> list[bytes]:
    """What a policy hashes of a request, empty: it has nothing to say."""
    match policy:
        case HashSource():
            return [address.encode()] if address else []
        case HashQuery():
            value = parse_query(request.path.partition(b"?")[2]).get(policy.name)
            return [] if value is None else [value]
        case HashCookie():
            value = cookie(request, policy.name)
            return [value] if value else []
        case HashHeader():
            values = values_of(request, policy.name)
            if policy.substitution is not None:
                values = [policy.substitution.apply(value) for value in values]
            return sorted(values)


def digest(values: list[bytes]) -> int:
    """xxHash64 of one value after the other, each seeded by what came before."""
    seed = 0
    for value in values:
        seed = xxhash.xxh64_intdigest(value, seed)
    return seed


def cookie(request: Request, name: bytes) -> bytes:
    """A cookie's value, without quotes around it; empty when there is none."""
    for found, value in request.fields:
        if found != b"cookie":
            continue
        for pair in value.split(b";"):
            key, _, content = pair.strip(b" \t").partition(b"=")
            if key == name:
                quoted = len(content) >= 2 and content[:1] == content[-1:] == b'"'
                return content[1:-1] if quoted else content
    return b""


def set_cookie(policy: HashCookie, value: bytes) -> bytes:
    """A Set-Cookie line, in Envoy's form."""
    line = b'%b="%b"' % (policy.name, value)
    if policy.lifetime:
        line += b"; Max-Age=%d" % policy.lifetime
    if policy.path:
        line += b"; Path=" + policy.path
    for name, content in policy.attributes:
        line += b"; " + name + (b"=" + content if content else b"")
    return line + b"; HttpOnly"
