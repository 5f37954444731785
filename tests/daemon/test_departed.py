from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from bpf.layout import Flow, FlowKey
from bpf.maps import Maps
from daemon.departed import Departed, flows_from
from tests.support.netns import netns as new_netns
from ztunnel_compat.runtime.tasks import Tasks

OURS = 1
OTHER = 2


def flow(source: int, port: int) -> tuple[FlowKey, Flow]:
    key = FlowKey(bytes(16), bytes(16), port, 80, 0)
    return key, Flow(source, 5, bytes(16), 80, 0)


@contextlib.asynccontextmanager
async def departing() -> AsyncIterator[tuple[Departed, Maps]]:
    maps = Maps.memory()
    for entry in (flow(OURS, 1), flow(OURS, 2), flow(OTHER, 3)):
        maps.flows.put(*entry)
    async with Tasks() as tasks:
        departed = Departed(maps.flows, tasks)
        try:
            yield departed, maps
        finally:
            departed.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def ports(maps: Maps) -> set[int]:
    return {key.source_port for key, _ in maps.flows.items()}


async def test_flows_stay_while_the_netns_lives_and_go_with_it() -> None:
    async with departing() as (departed, maps):
        with new_netns() as netns:
            await departed.leave(departed.watch.watch(netns.fd), OURS)
            assert ports(maps) == {1, 2, 3}
            maps.flows.put(*flow(OURS, 4))  # of a namesake in another netns
        await until(lambda: departed.swept == 2)
        assert ports(maps) == {3, 4}
        assert departed.left == {}


async def test_a_netns_that_ended_before_its_pod_was_removed() -> None:
    async with departing() as (departed, maps):
        with new_netns() as netns:
            number = departed.watch.watch(netns.fd)
        await until(lambda: not departed.watch.alive(number))
        await departed.leave(number, OURS)
        assert ports(maps) == {3}


async def test_a_pod_that_is_only_gone_from_the_mesh_loses_nothing_later() -> None:
    async with departing() as (departed, maps):
        with new_netns() as netns:
            departed.watch.watch(netns.fd)
        await until(lambda: not departed.watch.watched)
        assert ports(maps) == {1, 2, 3}


async def test_a_tuple_taken_over_by_somebody_else_stays() -> None:
    async with departing() as (departed, maps):
        with new_netns() as netns:
            await departed.leave(departed.watch.watch(netns.fd), OURS)
            maps.flows.put(*flow(OTHER, 1))
        await until(lambda: departed.swept == 1)
        assert ports(maps) == {1, 3}


async def test_everything_of_one_source() -> None:
    async with departing() as (departed, maps):
        await departed.bury(OURS)
        assert ports(maps) == {3}
        assert flows_from(maps.flows, OURS) == []
