"""Draws of one seed, of which corpora are made."""

from __future__ import annotations

import random
from typing import Any


class Draws:
    """The same draws for the same seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def some(self, chance: float) -> bool:
        return self.rng.random() < chance

    def pick(self, choices: Any) -> Any:
        return self.rng.choice(choices)
