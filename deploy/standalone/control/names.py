"""Host names of ServiceEntries: resolved here, so that engines needn't.

Names are asked again all the time: files don't change when a name's addresses
do. What a name was found to stand for counts until something else is found.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path

from deploy.standalone.control.engine import Engine
from deploy.standalone.control.errors import ConfigError
from deploy.standalone.control.objects import IpAddress
from deploy.standalone.control.view import View
from deploy.standalone.runner.launch import setns
from ztunnel_compat.runtime.tasks import Tasks

logger = logging.getLogger(__name__)

#: Seconds between questions: the system's resolver doesn't say how long an answer
#: holds.
REFRESH = 30.0
RETRY = 5.0
#: Questions that may wait for an answer at the same time.
THREADS = 8

Lookup = Callable[[str], Awaitable[tuple[IpAddress, ...]]]
Pause = Callable[[float], Awaitable[None]]


class NameWatcher:
    """Keeps the engine's names up to date: a task for each that a view wants."""

    def __init__(
        self, engine: Engine, tasks: Tasks, lookup: Lookup, pause: Pause = asyncio.sleep
    ) -> None:
        self.engine = engine
        self.tasks = tasks
        self.lookup = lookup
        self.pause = pause
        self.followed: dict[str, asyncio.Task[None]] = {}
        engine.listeners.append(lambda _before, view: self.view_changed(view))
        self.view_changed(engine.view)

    def view_changed(self, view: View) -> None:
        """Begin with names that are new, and leave those that nobody wants."""
        for name in view.wanted_names - self.followed.keys():
            self.followed[name] = self.tasks.spawn(self.follow(name), f"name {name}")
        for name in self.followed.keys() - view.wanted_names:
            self.followed.pop(name).cancel()

    async def follow(self, name: str) -> None:
        """Resolve a name for ever; trouble is said once, until it is over."""
        trouble = ""
        while True:
            try:
                addresses = await self.lookup(name)
            except OSError as error:
                if not trouble:
                    logger.error("%s can't be resolved: %s", name, error)
                trouble = str(error)
                await self.pause(RETRY)
                continue
            if trouble:
                logger.info("%s is resolved again", name)
            trouble = ""
            self.engine.set_name(name, addresses)
            await self.pause(REFRESH)


class Resolver:
    """The system's resolver, asked from inside a network namespace (None: our own).

    The mesh's own namespaces don't reach the machine's resolvers.
    """

    def __init__(self, netns: Path | None) -> None:
        self.fd = None if netns is None else open_netns(netns)
        self.pool = ThreadPoolExecutor(THREADS, "names", initializer=self.enter)

    def enter(self) -> None:
        """Move a new thread into the netns for good."""
        if self.fd is not None:
            setns(self.fd)

    async def lookup(self, name: str) -> tuple[IpAddress, ...]:
        """A name's addresses, in an order of their own; raises OSError."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, resolve, name)

    def close(self) -> None:
        """End the threads once what they ask is answered."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        if self.fd is not None:
            os.close(self.fd)


def open_netns(path: Path) -> int:
    """A file descriptor of a netns; raises ConfigError."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"--resolver-netns {path}: {error.strerror}") from error


def resolve(name: str) -> tuple[IpAddress, ...]:
    """Ask the system, in the calling thread; raises OSError.

    Resolvers answer in a new order each time, which must not count as a change.
    """
    found = {info[4][0] for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    addresses = {ip_address(text) for text in found if isinstance(text, str)}
    return tuple(sorted(addresses, key=lambda address: (address.version, int(address))))
