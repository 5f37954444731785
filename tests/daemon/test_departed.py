from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from bpf.layout import Flow, FlowFlag, FlowKey
from bpf.maps import Maps
from daemon.departed import Departed
from tests.support.netns import netns as new_netns
from tests.support.waiting import until
from ztunnel_compat.runtime.tasks import Tasks

OURS = 1
OTHER = 2


def flow(netns: int, port: int) -> tuple[FlowKey, Flow]:
    return FlowKey(bytes(16), bytes(16), port, 80), Flow(5, netns=netns)


class Scene:
    """A watch over a map with flows of two namespaces."""

    def __init__(self, tasks: Tasks) -> None:
        self.maps = Maps.memory()
        for entry in (flow(OURS, 1), flow(OURS, 2), flow(OTHER, 3)):
            self.maps.flows.put(*entry)
        self.departed = Departed(self.maps.flows, tasks)

    def ports(self) -> set[int]:
        return {key.source_port for key, _ in self.maps.flows.items()}


@contextlib.asynccontextmanager
async def departing() -> AsyncIterator[Scene]:
    async with Tasks() as tasks:
        made = Scene(tasks)
        try:
            yield made
        finally:
            made.departed.close()


async def test_flows_stay_while_the_netns_lives_and_go_with_it() -> None:
    async with departing() as scene:
        departed = scene.departed
        with new_netns() as netns:
            await departed.leave(departed.watch.watch(netns.fd), OURS)
            assert scene.ports() == {1, 2, 3}
            scene.maps.flows.put(*flow(OTHER, 4))  # of a namesake in another netns
        await until(lambda: departed.swept == 2)
        assert scene.ports() == {3, 4}
        assert departed.left == {}


async def test_a_netns_that_ended_before_its_pod_was_removed() -> None:
    async with departing() as scene:
        departed = scene.departed
        with new_netns() as netns:
            number = departed.watch.watch(netns.fd)
        await until(lambda: not departed.watch.alive(number))
        await departed.leave(number, OURS)
        assert scene.ports() == {3}


async def test_a_pod_that_is_only_gone_from_the_mesh_loses_nothing_later() -> None:
    async with departing() as scene:
        departed = scene.departed
        with new_netns() as netns:
            departed.watch.watch(netns.fd)
        await until(lambda: not departed.watch.watched)
        assert scene.ports() == {1, 2, 3}


async def test_a_tuple_taken_over_by_somebody_else_stays() -> None:
    async with departing() as scene:
        departed = scene.departed
        with new_netns() as netns:
            await departed.leave(departed.watch.watch(netns.fd), OURS)
            scene.maps.flows.put(*flow(OTHER, 1))
        await until(lambda: departed.swept == 1)
        assert scene.ports() == {1, 3}


async def test_an_adopted_netns_that_ended() -> None:
    async with departing() as scene:
        await scene.departed.bury(OURS)
        assert scene.ports() == {3}


async def test_a_cgroups_flows_go_when_its_hooks_do() -> None:
    async with departing() as scene:
        scene.maps.flows.put(FlowKey(bytes(16), bytes(16), 4, 80), Flow(6, netns=OURS))
        tunnelled = Flow(5, netns=OTHER, flags=FlowFlag.TUNNELLED)
        scene.maps.flows.put(FlowKey(bytes(16), bytes(16), 5, 80), tunnelled)
        await scene.departed.disown(5)
        assert scene.ports() == {4, 5}
