"""Request ids: UUIDs, as Envoy makes them, at the price of a counter."""

from __future__ import annotations

from collections.abc import Callable

#: Ids between two draws of the random part.
RUN = 1 << 16


class RequestIds:
    """Version 4 UUIDs whose last group counts on from a random start.

    Drawing 128 random bits per request would cost as much as routing it. An id
    has to be unique, not secret: 74 random bits per run of 65,536 ids are.
    """

    __slots__ = ("bits", "left", "node", "prefix")

    def __init__(self, bits: Callable[[int], int]) -> None:
        #: A source of random numbers of so many bits.
        self.bits = bits
        self.left = 0
        self.node = 0
        self.prefix = ""

    def next(self) -> str:
        """The next id."""
        if not self.left:
            self.restart()
        self.left -= 1
        self.node += 1
        return f"{self.prefix}{self.node:012x}"

    def restart(self) -> None:
        """Draw a new random part."""
        drawn = self.bits(74)
        variant = 0x8000 | drawn >> 60
        head = drawn & (1 << 60) - 1
        self.prefix = (
            f"{head >> 28:08x}-{head >> 12 & 0xFFFF:04x}-4{head & 0xFFF:03x}-{variant:04x}-"
        )
        self.node = self.bits(47)
        self.left = RUN
