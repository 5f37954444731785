"""How much a process may still take on, by what it has in hand already (see pressure).

As in Envoy's overload manager: when it gets tight, peers that do nothing have less time
to do it; beyond that, new requests are told 503 and new connections are refused, while
what is under way comes to its end.
"""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """What follows from the load."""

    CALM = 0
    #: Times are cut to SCALE of what they are.
    TIGHT = 1
    #: Nothing new is taken on.
    FULL = 2


#: Shares of the bounds at which a level begins, and below which it ends again: apart, so
#: that it doesn't come and go with every request.
TIGHT_AT, TIGHT_UNTIL = 0.85, 0.80
FULL_AT, FULL_UNTIL = 0.95, 0.90
#: What is left of the times that peers have, when it is tight.
SCALE = 1 / 30


def level_of(before: Level, memory: float, crowd: float) -> Level:
    """The level, after another one.

    memory, crowd: shares of the bounds on memory, on requests and connections. Those two
    are kept exactly, one by one, where they are taken on: a crowd alone refuses nothing.
    """
    if memory >= (FULL_UNTIL if before is Level.FULL else FULL_AT):
        return Level.FULL
    if max(memory, crowd) >= (TIGHT_AT if before is Level.CALM else TIGHT_UNTIL):
        return Level.TIGHT
    return Level.CALM
