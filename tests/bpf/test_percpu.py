"""Per-CPU maps: the kernel's and those in memory behave the same."""

from __future__ import annotations

import struct
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bpf import kernel
from bpf.errors import KernelError, LayoutError
from bpf.layout import EventClass, Traffic, TrafficKey
from bpf.maps import Maps
from bpf.percpu import PinnedSums, total
from tests.bpf.engine import SMALL, Engine

KEY = TrafficKey(1, 2, 3, 2)


@pytest.fixture(params=["pinned", "memory"])
def maps(request: pytest.FixtureRequest) -> Maps:
    if request.param == "memory":
        return Maps.memory(SMALL)
    mesh: Engine = request.getfixturevalue("mesh")
    return mesh.maps


def add(maps: Maps, key: TrafficKey, each: int) -> None:
    """As if every CPU had counted ``each`` of everything."""
    count = len(fields(Traffic))
    if isinstance(maps.traffic, PinnedSums):
        cpus = maps.traffic.cpus
        values = struct.pack(f"={count * cpus}Q", *[each] * (count * cpus))
        kernel.update(maps.traffic.fd, key.pack(), values, "traffic")
    else:
        maps.traffic.entries[key] = Traffic(*[each * kernel.possible_cpus()] * count)  # type: ignore[attr-defined]


def test_sums_are_over_all_cpus(maps: Maps) -> None:
    add(maps, KEY, 1 << 60)
    expected = (1 << 60) * kernel.possible_cpus()
    [(key, sums)] = maps.traffic.items()
    assert key == KEY
    assert {getattr(sums, field.name) for field in fields(Traffic)} == {expected}


def test_a_total_is_made_field_by_field() -> None:
    raw = struct.pack("=18Q", *range(18))
    assert total(raw, 2) == Traffic(*(2 * n + 9 for n in range(9)))


def test_every_key_is_seen(maps: Maps) -> None:
    for number in range(1000):
        maps.traffic.ensure(replace(KEY, target=number))
    assert {key.target for key, _ in maps.traffic.items()} == set(range(1000))


def test_a_key_that_is_there_keeps_its_sums(maps: Maps) -> None:
    add(maps, KEY, 5)
    maps.traffic.ensure(KEY)
    assert dict(maps.traffic.items())[KEY].opened > 0


def test_taking_removes(maps: Maps) -> None:
    add(maps, KEY, 5)
    taken = maps.traffic.take(KEY)
    assert taken is not None
    assert taken.sent == 5 * kernel.possible_cpus()
    assert maps.traffic.take(KEY) is None
    assert list(maps.traffic.items()) == []


def test_limits_leave_counts_alone(maps: Maps) -> None:
    before = maps.limits.suppressed(EventClass.DENIED)
    maps.limits.allow(EventClass.DENIED, 7)
    assert maps.limits.suppressed(EventClass.DENIED) == before
    maps.limits.allow(EventClass.DENIED, 0)


def test_each_cpu_gets_its_limit(mesh: Engine) -> None:
    limits = Maps.open(mesh.place.pin_dir).limits
    limits.allow(EventClass.CLOSED, 9)
    told = limits.read(EventClass.CLOSED)  # type: ignore[attr-defined]
    assert [one.most for one in told] == [9] * kernel.possible_cpus()
    assert {one.most for one in limits.read(EventClass.FAILED)} == {0}  # type: ignore[attr-defined]
    limits.allow(EventClass.CLOSED, 0)


def test_a_map_of_another_layout_is_refused(mesh: Engine) -> None:
    with pytest.raises(LayoutError, match="made by another version"):
        PinnedSums(mesh.place.pin_dir / "maps" / "limits")


def test_a_missing_pin_is_named(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="traffic"):
        PinnedSums(tmp_path / "traffic")
