"""Remembers what was made from what, so that a change costs what it changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Same:
    """An input that counts as equal only when it is the very same object."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.value is self.value


class Memo:
    """One result per key, for as long as its inputs stay equal.

    Results that a whole round didn't ask for are forgotten: the table is never
    larger than one round's results.
    """

    def __init__(self) -> None:
        self.kept: dict[Hashable, tuple[tuple[object, ...], Any]] = {}
        self.fresh: dict[Hashable, tuple[tuple[object, ...], Any]] = {}

    def get(self, key: Hashable, inputs: tuple[object, ...], make: Callable[[], T]) -> T:
        """The result for the key; made again when an input differs from last time's."""
        entry = self.kept.get(key)
        if entry is None or entry[0] != inputs:
            entry = (inputs, make())
        self.fresh[key] = entry
        result: T = entry[1]
        return result

    def end_round(self) -> None:
        """Forget what this round didn't ask for."""
        self.kept, self.fresh = self.fresh, {}
