"""Broken variants of good inputs, the same for the same seed."""

from __future__ import annotations

import random
from typing import Final

EXTREMES: Final = (0, 1, 0x7F, 0x80, 0xFF)


def mutate(rng: random.Random, data: bytes) -> bytes:
    """A few bytes changed, cut out, doubled or put in; sometimes nothing of it is left."""
    if rng.random() < 0.02:
        return rng.randbytes(rng.randrange(64))
    made = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(made) + 1)
        match rng.randrange(6):
            case 0:
                made[at : at + 1] = bytes([rng.choice(EXTREMES)])
            case 1:
                made[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                del made[at : at + rng.randrange(1, 9)]
            case 3:
                made[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 4:
                end = at + rng.randrange(1, 33)
                made[end:end] = made[at:end]
            case _:
                del made[at:]
    return bytes(made)
