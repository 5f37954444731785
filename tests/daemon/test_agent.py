from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from bpf.knobs import Knobs
from bpf.layout import Endpoint, EndpointKey, Port, PortKey
from bpf.maps import Maps
from daemon.agent import Agent
from daemon.desired import Desired
from daemon.program import Programmer, dump
from daemon.stranded import Stranded
from tests.daemon.meshes import (
    HERE,
    by_name,
    desired_of,
    endpoints,
    groups,
    keeper_of,
    key_of,
    port_key,
    service,
    sets_in,
    state_of,
    uid_of,
    workload,
)
from ztunnel_compat.model import Service, Workload
from ztunnel_compat.state import WorkloadState

WEB = port_key("web", 80)


class Mesh:
    """An agent at work on maps in memory."""

    def __init__(self, maps: Maps) -> None:
        self.maps = maps
        self.state = WorkloadState()
        programmer = Programmer(maps, dump(maps))
        desired = Desired(self.state, HERE, {})
        self.agent = Agent(
            desired, programmer, keeper_of(maps, self.state), Stranded(maps.replies)
        )
        self.synced = asyncio.Event()

    def push(self, *resources: Service | Workload, gone: tuple[str, ...] = ()) -> None:
        self.agent.on_change(self.state.apply(resources, gone))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(mesh: Mesh) -> AsyncIterator[Mesh]:
    task = asyncio.ensure_future(mesh.agent.run(mesh.synced))
    try:
        yield mesh
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_nothing_is_touched_before_the_first_push_is_complete() -> None:
    maps = Maps.memory()
    before = desired_of(state_of(service("old", "10.96.0.2")))
    earlier = Programmer(maps, dump(maps))
    await earlier.apply_in_slices(groups(earlier.programmed, before))
    maps.endpoints.put(EndpointKey(77, 0), Endpoint(bytes(16), 80))
    async with running(Mesh(maps)) as mesh:
        mesh.push(service("web", "10.96.0.1"), workload("a", "10.0.0.1", of=("web",)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert maps.ports.get(PortKey.unpack(port_key("old", 80))) == Port(0, 0)
        assert maps.ports.get(PortKey.unpack(WEB)) is None
        assert not mesh.agent.ready.is_set()
        mesh.synced.set()
        await mesh.until(mesh.agent.ready.is_set)
        assert list(sets_in(maps)) == [WEB]
        assert maps.endpoints.get(EndpointKey(77, 0)) is None
        assert len(list(maps.addresses.items())) == 2


async def test_changes_follow() -> None:
    async with running(Mesh(Maps.memory())) as mesh:
        mesh.synced.set()
        await mesh.until(mesh.agent.ready.is_set)
        mesh.push(service("web", "10.96.0.1"))
        mesh.push(workload("a", "10.0.0.1", of=("web",)))
        await mesh.until(lambda: len(endpoints(sets_in(mesh.maps).get(WEB, b""))) == 1)
        mesh.push(gone=(uid_of("a"),))
        await mesh.until(lambda: sets_in(mesh.maps).get(WEB) == b"")
        mesh.push(gone=(key_of("web"),))
        await mesh.until(lambda: sets_in(mesh.maps) == {})
        assert list(mesh.maps.addresses.items()) == []


async def test_what_did_not_fit_is_tried_again_at_the_next_push() -> None:
    async with running(Mesh(Maps.memory(Knobs(addresses=1)))) as mesh:
        mesh.push(service("web", "10.96.0.1"), service("db", "10.96.0.2"))
        mesh.synced.set()
        await mesh.until(mesh.agent.ready.is_set)
        assert len(mesh.agent.programmer.failed) == 1
        mesh.push(gone=(key_of("web"),))
        await mesh.until(lambda: mesh.agent.pushes == 2)
        mesh.push(service("other"))
        await mesh.until(lambda: mesh.agent.pushes == 3)
        assert not mesh.agent.programmer.failed
        assert len(list(mesh.maps.addresses.items())) == 1


async def test_a_problem_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with running(Mesh(Maps.memory())) as mesh:
        mesh.push(
            service("web", "10.96.0.1", waypoint=by_name("gate")),
            service("gate", "10.96.0.9"),
            workload("g", "10.0.0.9", of=("gate",)),
        )
        mesh.synced.set()
        await mesh.until(mesh.agent.ready.is_set)
        mesh.push(workload("g", "10.0.0.8", of=("gate",)))
        await mesh.until(lambda: mesh.agent.pushes == 2)
    assert caplog.text.count("has no application tunnel") == 1
