"""The change of a mesh's root, step by step, as values.

A certificate is refused by who doesn't trust its root, and who holds certificates
learns of roots only with the next one. So each step waits until the last
certificate has ended that was issued before it:

1. published: both roots go out with every certificate; the old one signs.
2. signing: everybody knows both; the new one signs.
3. stable: no certificate of the old one is left; it is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from deploy.standalone.control.errors import RotationError


class Step(StrEnum):
    """Where a rotation is."""

    STABLE = "stable"
    PUBLISHED = "published"
    SIGNING = "signing"


@dataclass(frozen=True, slots=True)
class Rotation:
    """Which roots there are, by number. Times in Unix seconds.

    trusted: what is published, the oldest first; signing: one of them; latest: when
    the last certificate ends that was issued so far; due: not before then comes the
    next step.
    """

    trusted: tuple[int, ...] = (1,)
    signing: int = 1
    latest: int = 0
    due: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.trusted) <= 2 or self.trusted != tuple(sorted(set(self.trusted))):
            raise RotationError(f"trusted roots {self.trusted}: expected one, or two in order")
        if self.signing not in self.trusted:
            raise RotationError(f"root {self.signing} signs, and is not among {self.trusted}")

    @property
    def step(self) -> Step:
        """Where this is."""
        if len(self.trusted) == 1:
            return Step.STABLE
        return Step.PUBLISHED if self.signing == self.trusted[0] else Step.SIGNING

    def issued(self, ends: int) -> Rotation:
        """After a certificate that ends then."""
        return self if ends <= self.latest else replace(self, latest=ends)

    def begin(self) -> Rotation:
        """Publish another root; raises RotationError while one is being changed."""
        if self.step is not Step.STABLE:
            raise RotationError(
                f"the root is being changed already (step: {self.step}): wait until it is done"
            )
        return replace(self, trusted=(self.signing, self.signing + 1), due=self.latest)

    def advance(self, now: float) -> Rotation:
        """The next step, if it is due; else the same."""
        if self.step is Step.STABLE or now <= self.due:
            return self
        newest = self.trusted[-1]
        if self.step is Step.PUBLISHED:
            return replace(self, signing=newest, due=self.latest)
        return replace(self, trusted=(newest,), due=0)
