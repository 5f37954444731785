"""Tunnels' sockets, by one epoll of their own that the event loop watches as one file.

The loop's add_reader() makes objects and four system calls for each socket, wakes for
each by itself, and says nothing of errors. Here a socket costs one system call, all
that is ready in a turn is served in it, and what that brings about for a connection
between the nodes leaves once, at the turn's end.

Where one turn follows another at once, again and again, the loop looks for the next
instead of sleeping: to be woken costs more than most of what is done then. Other
programs that want the processor have it first.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import Callable
from typing import Final, Protocol

#: Something to read; END comes with it when nothing will follow.
END: Final = select.EPOLLRDHUP
IN: Final = select.EPOLLIN | END
OUT: Final = select.EPOLLOUT
#: Sockets served in one turn; the others have the next one.
MOST: Final = 256
#: Nanoseconds for which the next turn is looked for, and within which it came where the
#: loop slept, which takes some itself.
LOOK: Final = 200_000
SLEPT: Final = 300_000
#: How many turns in a row must have come so for a look to begin. One in vain, at most one
#: a row, makes it twice as many: another program that had the processor meanwhile may
#: have kept it for much longer than it takes to be woken.
STEADY: Final = 8
MOST_STEADY: Final = 1024


class Watcher(Protocol):
    """Who serves a socket."""

    def ready(self, events: int) -> None:
        """Something may be had of the socket, or it has an error.

        Only may: the events may be those of one that had the same number a moment ago.
        """
        ...


class Poller:
    """Watches sockets for one event loop, from its thread."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.epoll = select.epoll()
        self.watchers: dict[int, Watcher] = {}
        self.ends: list[Callable[[], object]] = []
        #: In the middle of a turn, or of one that the loop was asked for.
        self.turning = False
        #: When the last turn ended, how many in a row came soon after the one before, how
        #: many there must be, and whether the next is looked for.
        self.ended = 0
        self.row = 0
        self.steady = STEADY
        self.looking = False
        self.loop.add_reader(self.epoll.fileno(), self.turn)

    def close(self) -> None:
        """Watch nothing any more."""
        if not self.epoll.closed:
            self.loop.remove_reader(self.epoll.fileno())
            self.epoll.close()

    def watch(self, descriptor: int, events: int, watcher: Watcher) -> None:
        """Begin to watch; errors and hang-ups are told in any case."""
        self.epoll.register(descriptor, events)
        self.watchers[descriptor] = watcher

    def change(self, descriptor: int, events: int) -> None:
        """Watch for other events."""
        self.epoll.modify(descriptor, events)

    def leave(self, descriptor: int) -> None:
        """Watch no longer; before the socket is closed."""
        if self.watchers.pop(descriptor, None) is not None and not self.epoll.closed:
            self.epoll.unregister(descriptor)

    def at_end(self, call: Callable[[], object]) -> None:
        """Call once, when all that is ready right now was served."""
        self.ends.append(call)
        if not self.turning:
            self.turning = True
            self.loop.call_soon(self.end)

    def turn(self) -> None:
        """Serve what is ready."""
        self.row = self.row + 1 if time.monotonic_ns() - self.ended < SLEPT else 0
        if self.looking:
            self.steady = max(STEADY, self.steady - 1)
        self.turning = True
        try:
            for descriptor, events in self.epoll.poll(0, MOST):
                watcher = self.watchers.get(descriptor)
                if watcher is not None:
                    watcher.ready(events)
        finally:
            self.end()
            self.ended = time.monotonic_ns()
            if self.row >= self.steady and not self.looking:
                self.looking = True
                self.loop.call_soon(self.look)

    def look(self) -> None:
        """Have the loop look again at once, unless the next turn is long in coming."""
        if time.monotonic_ns() - self.ended < LOOK:
            os.sched_yield()
            self.loop.call_soon(self.look)
        else:
            self.looking = False
            self.row = 0
            self.steady = min(2 * self.steady, MOST_STEADY)

    def end(self) -> None:
        """Call who waits for the end of a turn; who asks meanwhile has the next."""
        self.turning = False
        ends, self.ends = self.ends, []
        for call in ends:
            call()
