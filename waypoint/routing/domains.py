"""Virtual hosts by their domains: exact, ``*.suffix``, ``prefix.*`` or ``*``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from waypoint.errors import RouteError

H = TypeVar("H")


@dataclass(frozen=True, slots=True)
class Domains(Generic[H]):
    """Hosts by how their domains are written; longest wildcards first."""

    exact: dict[bytes, H]
    suffixes: tuple[tuple[bytes, H], ...]
    prefixes: tuple[tuple[bytes, H], ...]
    default: H | None

    def find(self, authority: bytes) -> H | None:
        """The host for an authority in lower case, in Envoy's order.

        A wildcard stands for at least one character.
        """
        host = self.exact.get(authority)
        if host is not None:
            return host
        size = len(authority)
        for suffix, host in self.suffixes:
            if size > len(suffix) and authority.endswith(suffix):
                return host
        for prefix, host in self.prefixes:
            if size > len(prefix) and authority.startswith(prefix):
                return host
        return self.default


def longest_first(pairs: list[tuple[bytes, H]]) -> tuple[tuple[bytes, H], ...]:
    """Wildcards in the order they are tried."""
    return tuple(sorted(pairs, key=lambda pair: -len(pair[0])))


def index_domains(hosts: Iterable[tuple[str, tuple[str, ...], H]]) -> Domains[H]:
    """Index hosts, each with its name and domains.

    Raises RouteError for a domain that is unsound or claimed twice.
    """
    seen: dict[bytes, H] = {}
    for name, domains, host in hosts:
        for domain in domains:
            key = domain.lower().encode()
            if b"*" in key[1:-1] or key.count(b"*") > 1:
                raise RouteError(
                    f"virtual_hosts {name!r}: domain {domain!r} has * inside: "
                    "it may only be first or last"
                )
            if key in seen:
                raise RouteError(f"virtual_hosts {name!r}: domain {domain!r} is taken")
            seen[key] = host

    wild = {d: h for d, h in seen.items() if d != b"*"}
    return Domains(
        exact={d: h for d, h in wild.items() if b"*" not in d},
        suffixes=longest_first([(d[1:], h) for d, h in wild.items() if d[:1] == b"*"]),
        prefixes=longest_first([(d[:-1], h) for d, h in wild.items() if d[-1:] == b"*"]),
        default=seen.get(b"*"),
    )


def without_port(authority: bytes) -> bytes:
    """An authority's host."""
    name, colon, port = authority.rpartition(b":")
    return name if colon and not port.endswith(b"]") else authority
