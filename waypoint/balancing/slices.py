"""Work that would hold up everything else, in slices: generators that yield between them."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
#: What comes to a result a slice at a time.
Slices = Generator[None, None, T]


def at_once(slices: Slices[T]) -> T:
    """The result, without a pause."""
    while True:
        try:
            next(slices)
        except StopIteration as done:
            result: T = done.value
            return result
