"""Whether a process that ended is started again, and when."""

from __future__ import annotations

#: Seconds. Kubernetes waits 10 before the second attempt; here a program often
#: ends because one that it needs, started in the same second, isn't up yet.
INITIAL = 1.0
MAXIMUM = 60.0
#: A process that ran so long has worked: its next end is a new story.
RESET_AFTER = 60.0


class RestartDelay:
    """Doubling delays between attempts to run something, in seconds."""

    def __init__(self, initial: float = INITIAL, maximum: float = MAXIMUM) -> None:
        self.initial = initial
        self.maximum = maximum
        self.following = initial

    def after(self, ran: float) -> float:
        """The delay before the next attempt, when the last one ran for so long."""
        if ran >= RESET_AFTER:
            self.following = self.initial
        delay = self.following
        self.following = min(delay * 2, self.maximum)
        return delay


def restarts(policy: str, status: int) -> bool:
    """Whether a restartPolicy starts a process again that ended with this status."""
    return policy == "Always" or (policy == "OnFailure" and status != 0)
