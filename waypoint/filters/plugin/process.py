"""A plug-in's process, and the socket to it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Callable
from typing import cast

from tandem.host.frames import FrameError, FrameReader
from tandem.host.program import command
from waypoint.filters.plugin.allowance import printable
from waypoint.filters.plugin.calls import Said

#: Bytes of an answer.
MOST_ANSWER = 2 << 20


class Link(asyncio.Protocol):
    """The socket to one process. answered: takes what it says, and raises FrameError or
    KeyError for what it shouldn't; wrong: is told of that; closed: set when the process
    is no more, and all it said was read.
    """

    def __init__(
        self,
        answered: Callable[[Said, bytes], None],
        wrong: Callable[[str], None],
        closed: asyncio.Future[None],
    ) -> None:
        self.answered = answered
        self.wrong = wrong
        self.closed = closed
        self.reader = FrameReader(MOST_ANSWER)
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take answers."""
        try:
            for said, content in self.reader.feed(data):
                self.answered(said, content)
        except (FrameError, KeyError, TypeError, ValueError) as error:
            self.wrong(f"spoke out of turn: {printable(str(error))[:200]}")

    def connection_lost(self, exc: Exception | None) -> None:
        """The process ended, or is about to."""
        if not self.closed.done():
            self.closed.set_result(None)


class Process:
    """A process that was started by a thread. pid: its id."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self.child = child
        self.pid = child.pid

    def kill(self) -> None:
        """SIGKILL, which nothing holds off; nothing where it has ended."""
        self.child.kill()

    async def wait(self) -> int:
        """How it ended, once it has: its status, or a signal below 0."""
        if self.child.poll() is None:
            loop = asyncio.get_running_loop()
            ended = asyncio.Event()
            watched = os.pidfd_open(self.pid)
            loop.add_reader(watched, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(watched)
                os.close(watched)
        return self.child.wait()


async def start_process(link: Link, memory: int) -> Process:
    """A process at the other end of a link; memory: bytes. Raises OSError.

    By a thread, since it takes until the program is there; and by subprocess, which
    doesn't copy this process for that, nor run what gRPC has registered for forks: that
    ends the copy now and then. The kernel ends what a thread started when the thread
    ends, which those of the loop do with the process.
    """
    ours, its = socket.socketpair()
    ours.setblocking(False)
    argv = command(os.getpid(), memory)

    def start() -> subprocess.Popen[bytes]:
        with its:
            return subprocess.Popen(
                argv,
                stdin=its.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                start_new_session=True,
            )

    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: link, sock=ours)
    return Process(await asyncio.to_thread(start))
