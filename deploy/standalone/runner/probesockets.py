"""Sockets for probes: of a cgroup that nothing but probes is in.

Policies let probes pass, as a kubelet's do in a cluster, and know them by the
cgroup of their sockets. The runner's own would not do: `tandem exec` and whatever
else an operator runs there is no probe.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from pathlib import Path

from deploy.standalone.runner import netns, process, socketmaker
from deploy.standalone.runner.errors import LaunchError
from deploy.standalone.runner.launch import PATH
from deploy.standalone.runner.process import Launch, Process

logger = logging.getLogger(__name__)


class ProbeSockets:
    """Has sockets made in a cgroup and netns, by a process that is started when needed."""

    def __init__(self, cgroup: Path, netns_name: str, log: Path) -> None:
        self.cgroup = cgroup
        self.netns_name = netns_name
        self.log = log
        self.process: Process | None = None
        self.channel: socket.socket | None = None
        self.one_at_a_time = asyncio.Lock()

    async def make(self, family: int) -> socket.socket:
        """A TCP socket that doesn't block; raises OSError.

        A maker that was killed is replaced: only then is asking twice of use.
        """
        async with self.one_at_a_time:
            for last in (False, True):
                channel = self.channel or await self.start()
                try:
                    return await ask(channel, b"6" if family == socket.AF_INET6 else b"4")
                except OSError as error:
                    logger.warning("the maker of %s's sockets: %s", self.cgroup.name, error)
                    await self.stop()
                    if last:
                        raise
                except BaseException:  # its answer would be the next asker's
                    await self.stop()
                    raise
        raise AssertionError("unreachable")

    async def start(self) -> socket.socket:
        """Start the process; what to ask it by. Raises OSError."""
        self.cgroup.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        place = Launch(
            argv=(sys.executable, "-I", "-S", socketmaker.__file__, str(theirs.fileno())),
            cgroup=str(self.cgroup),
            netns=str(netns.path(self.netns_name)),
            environment={"PATH": PATH},
        )
        try:
            self.process = process.spawn(place, self.log, (theirs.fileno(),))
            await self.process.executed()
        except LaunchError as error:
            ours.close()
            raise OSError(str(error)) from error
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.channel = ours
        return ours

    async def stop(self) -> None:
        """End the process, if there is one."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        if self.process is not None:
            self.process.send(signal.SIGKILL)
            await self.process.wait()
            self.process = None


async def ask(channel: socket.socket, family: bytes) -> socket.socket:
    """Have one socket made; raises OSError when nobody answers."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(channel, family)
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(channel, settle, readable)
    try:
        await readable
    finally:
        loop.remove_reader(channel)
    _, fds, _, _ = socket.recv_fds(channel, 1, 1)
    if not fds:
        raise ConnectionResetError("has ended")
    made = socket.socket(fileno=fds[0])
    made.setblocking(False)
    made.set_inheritable(False)
    return made


def settle(future: asyncio.Future[None]) -> None:
    """Wake who waits, once."""
    with contextlib.suppress(asyncio.InvalidStateError):
        future.set_result(None)
