"""How long a call has taken: time that its process waited for a processor isn't its own."""

from __future__ import annotations

from typing import NamedTuple

#: A call is over after so many times its limit, whatever its process waited for.
STARVED = 10.0


class Usage(NamedTuple):
    """What the kernel tells of a process: seconds that it ran, and waited for a processor
    until it last got one; runnable: it runs, or waits for one now.
    """

    ran: float = 0.0
    waited: float = 0.0
    runnable: bool = False


def read_usage(pid: int) -> Usage:
    """What is told now; nothing where the process has ended."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb") as file:  # noqa: PTH123
            ran, waited = (int(part) / 1e9 for part in file.read().split()[:2])
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            state = file.read().rpartition(b")")[2].split()[0]
    except (OSError, ValueError, IndexError):
        return Usage()
    return Usage(ran, waited, state == b"R")


def time_left(limit: float, wall: float, before: Usage, now: Usage) -> float:
    """Seconds that a call may still take, 0 or less: it is over its limit.

    wall: how long ago it began; before: what was told while it ran or just before. What a
    process that is runnable waits for right now isn't told, so that only what it ran
    counts: with what it ran before that was looked at, at most as much again.
    """
    used = now.ran - before.ran if now.runnable else wall - (now.waited - before.waited)
    return min(limit - used, limit * STARVED - wall)
