"""What balancers know of a host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Host(Protocol):
    """Something that can be chosen."""

    @property
    def label(self) -> str:
        """Address and port, ``10.0.0.1:80``: what hashes go by."""

    @property
    def weight(self) -> int:
        """Its share, at least 1."""

    @property
    def active(self) -> int:
        """Requests that it has now."""

    @property
    def since(self) -> float | None:
        """When it began to take requests, for slow start; None: long ago."""


H = TypeVar("H", bound=Host)
H_co = TypeVar("H_co", bound=Host, covariant=True)


class Balancer(Protocol[H_co]):
    """A policy at work over a fixed, non-empty set of hosts."""

    def pick(self, drawn: float, hash_key: int | None = None, attempt: int = 0) -> H_co:
        """The host for a request.

        drawn: a random number from [0, 1); hash_key: 64 bits that stand for what
        requests of one session share, None: nothing does.
        """


def weighs_even(hosts: Sequence[Host]) -> bool:
    """Whether all have the same weight."""
    return len({host.weight for host in hosts}) <= 1
