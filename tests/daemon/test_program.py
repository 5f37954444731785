from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator

import pytest

from bpf.errors import MapFullError
from bpf.knobs import Knobs
from bpf.layout import EndpointKey, Pod
from bpf.maps import Maps
from daemon.program import Programmer, dump
from daemon.reconcile import Delete, Group, Put
from daemon.scope import Scope
from tests.daemon.meshes import (
    desired_of,
    groups,
    port_key,
    service,
    sets_in,
    state_of,
    workload,
)


def web(*addresses: str) -> list[Group]:
    """A service with these endpoints, programmed from nothing."""
    pods = [workload(f"w{n}", a, of=("web",)) for n, a in enumerate(addresses)]
    desired = desired_of(state_of(service("web", "10.96.0.1"), *pods))
    return groups(dump(Maps.memory()), desired)


async def test_what_is_written_is_what_a_dump_finds() -> None:
    maps = Maps.memory()
    programmer = Programmer(maps, dump(maps))
    work = web("10.0.0.1", "10.0.0.2")
    assert await programmer.apply_in_slices(work) == sum(len(g.operations) for g in work)
    assert dump(maps) == programmer.programmed
    assert len(sets_in(maps)[port_key("web", 80)]) == 2


async def test_a_set_that_does_not_fit_is_taken_back_and_the_rest_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    maps = Maps.memory(Knobs(endpoints=2))
    programmer = Programmer(maps, dump(maps))
    with caplog.at_level(logging.ERROR):
        await programmer.apply_in_slices(web("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    assert sets_in(maps) == {}
    assert list(maps.endpoints.items()) == []
    assert len(list(maps.addresses.items())) == 4
    assert programmer.full == {"endpoints": 1}
    assert "map endpoints is full at 2 entries" in caplog.text
    assert dump(maps).endpoints == programmer.programmed.endpoints
    assert programmer.take_failed() == Scope(ports={port_key("web", 80)})
    assert programmer.take_failed() == Scope()


async def test_what_did_not_fit_keeps_what_it_had() -> None:
    maps = Maps.memory(Knobs(endpoints=3))
    programmer = Programmer(maps, dump(maps))
    state = state_of(service("web", "10.96.0.1"), workload("a", "10.0.0.1", of=("web",)))
    await programmer.apply_in_slices(groups(programmer.programmed, desired_of(state)))
    before = sets_in(maps)
    state.apply([workload(n, f"10.0.0.{ord(n)}", of=("web",)) for n in "bc"], ())
    await programmer.apply_in_slices(groups(programmer.programmed, desired_of(state)))
    assert sets_in(maps) == before
    state.apply((), [workload("c", "10.0.0.99").uid])
    await programmer.apply_in_slices(groups(programmer.programmed, desired_of(state)))
    assert len(sets_in(maps)[port_key("web", 80)]) == 2
    assert programmer.failed == {}


def test_one_group_at_once_tells_who_asked() -> None:
    maps = Maps.memory(Knobs(pods=1))
    programmer = Programmer(maps, dump(maps))
    programmer.apply(Group(1, (Put(1, Pod(1, 0)),)))
    with pytest.raises(MapFullError):
        programmer.apply(Group(2, (Put(2, Pod(2, 0)),)))
    programmer.apply(Group(1, (Delete(1),)))
    programmer.apply(Group(2, (Put(2, Pod(2, 0)),)))
    assert dict(maps.pods.items()) == {2: Pod(2, 0)}


async def test_other_work_gets_its_turn_within_a_group() -> None:
    maps = Maps.memory()
    ticks = itertools.count(0, 0.004)
    programmer = Programmer(maps, dump(maps), lambda: next(ticks))
    turns = []

    async def other() -> None:
        while True:
            turns.append(len(list(maps.endpoints.items())))
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    work = web(*(f"10.0.0.{n}" for n in range(1, 40)))
    await programmer.apply_in_slices(work)
    task.cancel()
    assert len(turns) > 20
    assert len(set(turns)) > 10


def test_deleting_what_is_not_there_is_fine() -> None:
    maps = Maps.memory()
    programmer = Programmer(maps, dump(maps))
    programmer.apply(Group(None, (Delete(EndpointKey(1, 1)), Delete(5))))
    assert dump(maps) == programmer.programmed


async def test_groups_are_taken_one_by_one() -> None:
    """A lazy source sees each group's effect before it makes the next."""
    maps = Maps.memory()
    programmer = Programmer(maps, dump(maps))
    seen = []

    def source() -> Iterator[Group]:
        for cookie in (1, 2):
            yield Group(cookie, (Put(cookie, Pod(cookie, 0)),))
            seen.append(set(programmer.programmed.pods))

    await programmer.apply_in_slices(source())
    assert seen == [{1}, {1, 2}]
