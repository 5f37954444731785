"""Locks between processes, in memory that they share: POSIX threads' robust mutexes.

Nobody waits for one in the kernel: taking it and giving it back are single instructions
on the memory while nobody else holds it. Of one whose holder was killed, the next to take
it is told by the kernel, and has it. The memory has to stay mapped while one is held.
"""

from __future__ import annotations

import ctypes
import errno
import os

#: Bytes of one: more than any platform's pthread_mutex_t, and a cache line.
SIZE = 64
#: pthread.h: PTHREAD_PROCESS_SHARED, PTHREAD_MUTEX_ROBUST.
SHARED, ROBUST = 1, 1
#: How often one is asked for that another process holds: that is for a microsecond,
#: unless the kernel took the processor from it just then.
TRIES = 200


class Locks:
    """So many locks from an address on; new: nobody has made them yet."""

    __slots__ = ("base", "count", "lock", "recover", "recovered", "unlock")

    def __init__(self, base: int, count: int, *, new: bool) -> None:
        # The interpreter's own lock is kept: nothing here takes long or waits.
        library = ctypes.PyDLL(None)
        self.base = base
        self.count = count
        self.lock = library.pthread_mutex_trylock
        self.unlock = library.pthread_mutex_unlock
        self.recover = library.pthread_mutex_consistent
        for function in (self.lock, self.unlock, self.recover):
            function.argtypes = [ctypes.c_void_p]
            function.restype = ctypes.c_int
        #: How often a holder was found dead.
        self.recovered = 0
        if new:
            self.make(library)

    def make(self, library: ctypes.PyDLL) -> None:
        """Make all of them; raises OSError."""
        attributes = ctypes.create_string_buffer(SIZE)
        check(library.pthread_mutexattr_init(attributes))
        check(library.pthread_mutexattr_setpshared(attributes, SHARED))
        check(library.pthread_mutexattr_setrobust(attributes, ROBUST))
        for number in range(self.count):
            address = ctypes.c_void_p(self.base + number * SIZE)
            check(library.pthread_mutex_init(address, attributes))
        check(library.pthread_mutexattr_destroy(attributes))

    def take(self, number: int) -> bool:
        """Take a lock; False when somebody else keeps it."""
        address = self.base + number * SIZE
        for _ in range(TRIES):
            result = self.lock(address)
            if result == 0:
                return True
            if result == errno.EOWNERDEAD:
                # What it left is sound: see Table.
                check(self.recover(address))
                self.recovered += 1
                return True
            if result != errno.EBUSY:
                check(result)
        return False

    def give(self, number: int) -> None:
        """Give it back."""
        self.unlock(self.base + number * SIZE)


def check(result: int) -> None:
    """Raise OSError for what a function of the threads' library returned."""
    if result:
        raise OSError(result, os.strerror(result))
