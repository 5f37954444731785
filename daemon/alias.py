"""Weighted choice in constant time: Vose's alias method, in whole numbers.

Of n endpoints one is drawn evenly; a second draw keeps it, or takes the one that
its entry names. See M. D. Vose, "A linear algorithm for generating random numbers
with a given distribution", IEEE Transactions on Software Engineering 17(9), 1991.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: A `keep` that the kernel doesn't compare: the endpoint is always kept.
ALWAYS: Final = 0xFFFFFFFF


def alias_table(weights: Sequence[int]) -> list[tuple[int, int]]:
    """(keep, alias) of each of some positive weights; exact to 1 in 2^32.

    Nothing is rounded but ``keep`` at the end, so no entry is left over.
    """
    count, total = len(weights), sum(weights)
    entries = [(ALWAYS, 0)] * count
    share = [weight * count for weight in weights]
    small = [index for index, part in enumerate(share) if part < total]
    large = [index for index, part in enumerate(share) if part > total]
    while small:
        poor, rich = small.pop(), large[-1]
        entries[poor] = ((share[poor] << 32) // total, rich)
        share[rich] -= total - share[poor]
        if share[rich] <= total:
            large.pop()
            if share[rich] < total:
                small.append(rich)
    return entries
