"""How many retries a cluster may have at a time (Envoy's retry budget)."""

from __future__ import annotations

from dataclasses import dataclass

UNLIMITED = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """percent: of the requests under way; minimum: retries that are always allowed."""

    percent: float = 20.0
    minimum: int = 3

    def allowed(self, active: int) -> int:
        """Retries at a time, for so many requests that are under way or wait."""
        return max(self.minimum, int(active * self.percent / 100))
