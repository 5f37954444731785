"""The buckets that all workers of a waypoint take of.

There are no shares that could be exceeded or lie idle: a bucket stands once, in memory
that the parent made and its workers map, and each request takes its token there, under
a lock that is held for a microsecond.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from hashlib import blake2b
from time import monotonic_ns
from typing import Final

from waypoint.filters.local_limit.bucket import Bucket, Level, take
from waypoint.filters.local_limit.locks import SIZE, Locks
from waypoint.filters.local_limit.table import Place, Table

#: Rows of configured buckets, and of those that requests' values bring about: these
#: may be anybody's idea, and mustn't take the others' places.
FIXED_ROWS: Final = 1024
DYNAMIC_ROWS: Final = 4096
LOCKS: Final = 64
WORD: Final = 8
#: A random key, so that nobody can think of names that share a row.
KEY: Final = 64
HEAD: Final = KEY + LOCKS * SIZE
LENGTH: Final = HEAD + (Table.size(FIXED_ROWS) + Table.size(DYNAMIC_ROWS)) * WORD


class Handle:
    """One bucket, and where it stands. dynamic: brought about by a request's value."""

    __slots__ = ("bucket", "lock", "place", "table")

    def __init__(self, bucket: Bucket, place: Place, table: Table, lock: int) -> None:
        self.bucket = bucket
        self.place = place
        self.table = table
        self.lock = lock


class Buckets:
    """The memory, as one process sees it. descriptor: the file it is in."""

    def __init__(self, descriptor: int, *, new: bool) -> None:
        self.descriptor = descriptor
        self.memory = mmap.mmap(descriptor, LENGTH)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        if new:
            self.memory[:KEY] = os.urandom(KEY)
        self.key = self.memory[:KEY]
        self.locks = Locks(base + KEY, LOCKS, new=new)
        words = memoryview(self.memory).cast("q")
        start = HEAD // WORD
        self.fixed = Table(words, start, FIXED_ROWS)
        self.dynamic = Table(words, start + Table.size(FIXED_ROWS), DYNAMIC_ROWS)

    def handle(self, scope: bytes, bucket: Bucket, *, dynamic: bool = False) -> Handle:
        """The bucket of a name: the same in every worker, and after every push that leaves
        its name and its numbers alone.
        """
        numbers = b"%d/%d/%d|" % (bucket.size, bucket.per_fill, bucket.interval)
        digest = blake2b(numbers + scope, digest_size=WORD, key=self.key).digest()
        name = int.from_bytes(digest, "little", signed=True) or 1
        table = self.dynamic if dynamic else self.fixed
        return Handle(bucket, Place(name), table, table.row(name) % LOCKS)

    def take(self, handle: Handle, tokens: int) -> Level | None:
        """Take tokens of a bucket; None: another process keeps its lock."""
        locks = self.locks
        if not locks.take(handle.lock):
            return None
        now = monotonic_ns()
        table = handle.table
        try:
            at = table.find(handle.place, now)
            level = take(handle.bucket, table.words[at], now, tokens)
            if level.taken:
                table.words[at] = level.full
        finally:
            locks.give(handle.lock)
        return level

    def dump(self) -> dict[str, int]:
        """What happened to it in this process, JSON-able: buckets that had to go before
        they were full, and locks whose holder had died.
        """
        return {
            "evicted": self.fixed.evicted + self.dynamic.evicted,
            "recovered": self.locks.recovered,
        }


def make_buckets() -> Buckets:
    """Memory with no bucket in it, for this process and those that are given it.

    Raises OSError.
    """
    descriptor = os.memfd_create("waypoint-buckets", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, LENGTH)
    return Buckets(descriptor, new=True)
