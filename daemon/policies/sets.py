"""The policy sets in the kernel's maps: those in use, those to go, those still named.

One caller at a time changes them; naming what the kernel counted needs no waiting.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from bpf.maps import Maps
from daemon.policies.compile import compile_set
from daemon.policies.identities import identity_hash
from daemon.policies.standing import Policies
from daemon.policies.tables import Tables, WrittenSet
from daemon.policies.totals import Totals
from daemon.program import Turn
from ztunnel_compat.identity import Identity

#: Sets that are gone and whose policies' names are still known, for late readers.
REMEMBERED: Final = 64


class Sets:
    """Policy sets by what they hold; retired: no guard names them any more."""

    def __init__(self, maps: Maps, most_chunks: int) -> None:
        self.most_chunks = most_chunks
        self.tables = Tables(maps)
        self.identities: dict[int, Identity] = {}
        self.used: dict[Policies, WrittenSet] = {}
        self.retired: list[WrittenSet] = []
        self.by_number: OrderedDict[int, WrittenSet] = OrderedDict()
        self.totals = Totals(maps.hits, self.policy_of)

    async def number_of(self, policies: Policies) -> int:
        """The first number of a set, written if it isn't; 0: no policy has a say.

        Raises TooLargeError, MapFullError.
        """
        written = self.used.get(policies)
        if written is None:
            compiled = await asyncio.to_thread(compile_set, policies, self.most_chunks)
            if not compiled.chunks:
                return 0
            turn = Turn()
            for part in self.tables.write(compiled, self.identities.values()):
                written = part
                await turn.step()
            assert written is not None
            self.used[policies] = written
            self.by_number[written.number] = written
        return written.number

    def learn(self, identity: Identity) -> None:
        """Let every set know an identity, before anybody can connect with it.

        Raises MapFullError; sets that don't know it refuse it where they look.
        """
        number = identity_hash(identity)
        if number not in self.identities:
            for written in self.there():
                self.tables.add_identity(written, identity)
            self.identities[number] = identity

    def policy_of(self, chunk: int, rule: int) -> str:
        """The key of the policy that a chunk's rule is of; empty if there is none."""
        for number, written in reversed(self.by_number.items()):
            if number <= chunk < number + len(written.compiled.chunks):
                return written.compiled.policy(chunk - number, rule)
        return ""

    def retire(self, named: Collection[int]) -> bool:
        """Retire the sets that no guard names; whether there were any."""
        unnamed = [key for key, written in self.used.items() if written.number not in named]
        self.retired += [self.used.pop(key) for key in unnamed]
        return bool(unnamed)

    def delete(self, retired: Sequence[WrittenSet]) -> None:
        """Delete the first of the retired sets; what they counted stays in the totals."""
        for written in retired:
            self.totals.fold(numbers(written))
            self.tables.remove(written)
        del self.retired[: len(retired)]
        while len(self.by_number) > REMEMBERED + len(self.used) + len(self.retired):
            self.forget_oldest()

    def forget_oldest(self) -> None:
        """Forget the policies' names of the set that is gone for the longest time."""
        needed = {written.number for written in self.there()}
        for number in self.by_number:
            if number not in needed:
                del self.by_number[number]
                return

    async def sweep(self, named: Iterable[int]) -> int:
        """Delete what earlier processes left; how many chunks.

        named: the first numbers of sets that guards name, whoever wrote them.
        """
        needed = {number for first in named for number in self.tables.numbers_of(first)}
        for written in self.there():
            needed |= set(numbers(written))
        return await asyncio.to_thread(self.tables.sweep, needed)

    def there(self) -> tuple[WrittenSet, ...]:
        """All sets of this process that are in the maps."""
        return (*self.used.values(), *self.retired)


def numbers(written: WrittenSet) -> range:
    """The numbers of a set's chunks."""
    return range(written.number, written.number + len(written.compiled.chunks))
