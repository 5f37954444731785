"""Who claims what: an index in which two may want the same key."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Claims(Generic[K]):
    """Keys and the names that claim them; the last to claim a key holds it.

    When its holder lets go, a key falls back to the one who claimed it before:
    a pod that takes over a dead pod's address keeps it when the dead one's
    removal arrives late, and the other way round.
    """

    def __init__(self) -> None:
        # Nearly every key has one claimant: its name alone, for the memory's sake.
        self.claimants: dict[K, str | tuple[str, ...]] = {}

    def holder(self, key: K) -> str | None:
        """The name that holds this key, or None."""
        names = self.claimants.get(key)
        return names[-1] if isinstance(names, tuple) else names

    def all(self, key: K) -> tuple[str, ...]:
        """Every name that claims this key, the holder last."""
        names = self.claimants.get(key, ())
        return names if isinstance(names, tuple) else (names,)

    def add(self, keys: Iterable[K], name: str) -> None:
        """Claim keys for a name that claims none of them yet."""
        for key in keys:
            alone = self.claimants.setdefault(key, name) is name
            if not alone:
                self.claimants[key] = (*self.all(key), name)

    def drop(self, keys: Iterable[K], name: str) -> set[str]:
        """Give keys up; the names that hold one of them from now on instead."""
        heirs = set()
        for key in keys:
            before = self.all(key)
            after = tuple(other for other in before if other != name)
            if not after:
                del self.claimants[key]
                continue
            self.claimants[key] = after if len(after) > 1 else after[0]
            if before[-1] == name:
                heirs.add(after[-1])
        return heirs
