from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator

import pytest

from bpf.errors import MapFullError
from bpf.knobs import Knobs
from bpf.layout import Address, Pod
from bpf.maps import Maps
from daemon.operations import Delete, Group, Put
from daemon.program import Programmer, dump
from daemon.reconcile import RUN, endpoint_keys
from daemon.scope import Scope
from tests.bpf.engine import engine
from tests.daemon.meshes import (
    cookie,
    desired_of,
    endpoints,
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
    # Two endpoints, a record, an address each of the service and of its two pods.
    assert await programmer.apply_in_slices(work) == 2 + 1 + 3
    assert dump(maps) == programmer.programmed
    assert len(endpoints(sets_in(maps)[port_key("web", 80)])) == 2


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
    assert dump(maps).endpoints == programmer.programmed.endpoints == {}
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
    assert len(endpoints(sets_in(maps)[port_key("web", 80)])) == 2
    assert programmer.failed == {}


async def test_entries_that_do_not_fit_cost_no_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also those behind them in the same run, when they need no room."""
    maps = Maps.memory(Knobs(addresses=2))
    programmer = Programmer(maps, dump(maps))
    keys = [number.to_bytes(24, "big") for number in range(5)]
    old, new = Address(1).pack(), Address(2).pack()
    programmer.apply(Group(None, (Put("addresses", keys[1] + keys[4], old * 2),)))
    with caplog.at_level(logging.ERROR):
        await programmer.apply_in_slices(
            [Group(None, (Put("addresses", b"".join(keys), new * 5),))] * 2
        )
    assert dict(maps.addresses.packed_items()) == {keys[1]: new, keys[4]: new}
    assert dump(maps) == programmer.programmed
    assert programmer.full == {"addresses": 6}
    assert caplog.text.count("map addresses is full at 2 entries") == 1
    assert "6 entries keep what they had" in caplog.text
    assert programmer.take_failed() == Scope(addresses={keys[0], keys[2], keys[3]})


async def test_a_set_larger_than_one_operation_is_taken_back_whole() -> None:
    maps = Maps.memory(Knobs(endpoints=RUN + 7))
    programmer = Programmer(maps, dump(maps))
    work = web(*(f"10.0.{n // 250}.{n % 250}" for n in range(2 * RUN)))
    await programmer.apply_in_slices(work)
    assert list(maps.endpoints.items()) == []
    assert programmer.programmed.endpoints == {}
    assert programmer.full == {"endpoints": 1}


def pods_group(number: int) -> Group:
    return Group(("pods", cookie(number)), (Put("pods", cookie(number), Pod(number).pack()),))


def test_one_group_at_once_tells_who_asked() -> None:
    maps = Maps.memory(Knobs(pods=1))
    programmer = Programmer(maps, dump(maps))
    programmer.apply(pods_group(1))
    with pytest.raises(MapFullError):
        programmer.apply(pods_group(2))
    programmer.apply(Group(("pods", cookie(1)), (Delete("pods", cookie(1)),)))
    programmer.apply(pods_group(2))
    assert dict(maps.pods.items()) == {2: Pod(2)}
    assert programmer.failed == {}


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
    work = web(*(f"10.0.{n // 250}.{n % 250}" for n in range(40 * RUN)))
    await programmer.apply_in_slices(work)
    task.cancel()
    assert len(turns) > 20
    assert len(set(turns)) > 10


def test_deleting_what_is_not_there_is_fine() -> None:
    maps = Maps.memory()
    programmer = Programmer(maps, dump(maps))
    missing = Delete("endpoints", endpoint_keys(1, 0, 2))
    programmer.apply(Group(None, (missing, Delete("pods", cookie(5)))))
    assert dump(maps) == programmer.programmed


async def test_groups_are_taken_one_by_one() -> None:
    """A lazy source sees each group's effect before it makes the next."""
    maps = Maps.memory()
    programmer = Programmer(maps, dump(maps))
    seen = []

    def source() -> Iterator[Group]:
        for number in (1, 2):
            yield pods_group(number)
            seen.append(len(programmer.programmed.pods))

    await programmer.apply_in_slices(source())
    assert seen == [1, 2]


def test_the_kernels_maps_take_the_same() -> None:
    """Batches, on real maps: a large set, a swap, an adoption by another process."""
    some = [workload(f"w{n}", f"10.0.{n // 250}.{n % 250}", of=("web",)) for n in range(2000)]
    state = state_of(service("web", "10.96.0.1", "10.97.0.0/16"), *some)
    with engine("program", Knobs(addresses=4096)) as mesh:
        programmer = Programmer(mesh.maps, dump(mesh.maps))
        for count in (2000, 1200, 1):
            state.apply((), [w.uid for w in some[count:]])
            desired = desired_of(state)
            for group in groups(programmer.programmed, desired):
                programmer.apply(group)
            assert sets_in(mesh.maps) == desired.content.ports
            adopted = dump(mesh.maps)
            assert adopted == programmer.programmed
            assert adopted.ranges == desired.content.ranges
            assert adopted.addresses == desired.content.addresses
