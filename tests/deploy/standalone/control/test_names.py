from __future__ import annotations

import asyncio
from ipaddress import ip_address
from pathlib import Path

import pytest

from deploy.standalone.control.engine import Engine
from deploy.standalone.control.errors import ConfigError
from deploy.standalone.control.names import REFRESH, RETRY, NameWatcher, Resolver
from deploy.standalone.control.objects import IpAddress
from deploy.standalone.control.state import StateStore
from tests.deploy.standalone.control.helpers import FILE, SETTINGS, entry, read
from ztunnel_compat.runtime.tasks import Tasks

DNS = "hosts: [a.example]\nports: [{number: 80, name: http}]\nresolution: DNS\n"
FIRST, SECOND = (ip_address("192.0.2.1"),), (ip_address("192.0.2.2"),)


class World:
    """An engine, and answers that come when the test gives them."""

    def __init__(self, folder: Path) -> None:
        self.engine = Engine(SETTINGS, StateStore(folder))
        self.asked: asyncio.Queue[str] = asyncio.Queue()
        self.answers: asyncio.Queue[tuple[IpAddress, ...] | OSError] = asyncio.Queue()
        self.paused: asyncio.Queue[float] = asyncio.Queue()
        self.go = asyncio.Semaphore(0)

    async def lookup(self, name: str) -> tuple[IpAddress, ...]:
        self.asked.put_nowait(name)
        answer = await self.answers.get()
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def pause(self, seconds: float) -> None:
        self.paused.put_nowait(seconds)
        await self.go.acquire()

    async def write(self, text: str) -> None:
        self.engine.set_catalog(self.engine.catalog.loaded(FILE, read(text)))
        await self.engine.step()

    async def answer(self, answer: tuple[IpAddress, ...] | OSError) -> float:
        """Answer the next question; how long it waits until the one after."""
        await asyncio.wait_for(self.asked.get(), 10)
        self.answers.put_nowait(answer)
        seconds = await asyncio.wait_for(self.paused.get(), 10)
        await self.engine.step()
        self.go.release()
        return seconds

    def known(self) -> tuple[IpAddress, ...] | None:
        return self.engine.view.carried.names.get("a.example")


async def test_a_name_is_followed_as_long_as_it_is_wanted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    world = World(tmp_path)
    async with Tasks() as tasks:
        watcher = NameWatcher(world.engine, tasks, world.lookup, world.pause)
        await world.write(entry(DNS))
        assert await world.answer(FIRST) == REFRESH
        assert world.known() == FIRST
        for _ in range(2):
            assert await world.answer(OSError("no such name")) == RETRY
            assert world.known() == FIRST, "kept when it can't be resolved"
        assert caplog.text.count("a.example can't be resolved: no such name") == 1
        assert await world.answer(SECOND) == REFRESH
        assert "a.example is resolved again" in caplog.text
        assert world.known() == SECOND
        await world.write("")
        assert not watcher.followed
        assert world.known() is None
        assert not world.engine.names
    assert tasks.failure is None


async def test_what_was_known_outlasts_the_process(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with Tasks() as tasks:
        NameWatcher(world.engine, tasks, world.lookup, world.pause)
        await world.write(entry(DNS))
        await world.answer(FIRST)
    again = Engine(SETTINGS, StateStore(tmp_path))
    await again.step()
    assert again.view.carried.names == {"a.example": FIRST}
    assert again.view.carried.vips == world.engine.view.carried.vips
    assert again.view.host_endpoints[("shop", "a.example")][0].ips == FIRST


async def test_the_systems_resolver() -> None:
    resolver = Resolver(Path("/proc/self/ns/net"))
    assert ip_address("127.0.0.1") in await resolver.lookup("localhost")
    with pytest.raises(OSError):
        await resolver.lookup("no-such-name.invalid")
    resolver.close()


def test_a_netns_that_is_not_there_is_said() -> None:
    with pytest.raises(ConfigError, match="--resolver-netns /nowhere: No such file"):
        Resolver(Path("/nowhere"))
