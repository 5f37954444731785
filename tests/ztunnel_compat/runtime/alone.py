"""A server with the ports of a process to itself."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Protocol, TypeVar

import aiohttp

from bpf.netns import in_netns
from tests.support.netns import netns as new_netns


class Server(Protocol):
    """What is started and closed."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...


S = TypeVar("S", bound=Server)


@contextlib.asynccontextmanager
async def alone(server: S) -> AsyncIterator[tuple[S, aiohttp.ClientSession]]:
    """A server and its client in a netns of their own, as is this thread."""
    with new_netns() as netns, in_netns(netns.fd):
        async with aiohttp.ClientSession() as session:
            try:
                await server.start()
                yield server, session
            finally:
                await server.close()
