"""Per-CPU maps: the kernel's and those in memory behave the same."""

from __future__ import annotations

import os
import struct
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bpf import elements
from bpf.codecs import U64
from bpf.errors import KernelError, LayoutError
from bpf.layout import Counter, Hit, Traffic, TrafficKey
from bpf.maps import HIT, POD, Maps
from bpf.percpu import PinnedCounts, PinnedSums, possible_cpus, total
from bpf.tables import PinnedTable
from tests.bpf.engine import Engine

KEY = TrafficKey(1, 2, 3, 2)


def add(maps: Maps, key: TrafficKey, each: int) -> None:
    """As if every CPU had counted ``each`` of everything."""
    count = len(fields(Traffic))
    if isinstance(maps.traffic, PinnedSums):
        cpus = maps.traffic.cpus
        values = struct.pack(f"={count * cpus}Q", *[each] * (count * cpus))
        elements.update(maps.traffic.fd, key.pack(), values, "traffic")
    else:
        maps.traffic.entries[key] = Traffic(*[each * possible_cpus()] * count)  # type: ignore[attr-defined]


def test_sums_are_over_all_cpus(maps: Maps) -> None:
    add(maps, KEY, 1 << 60)
    expected = (1 << 60) * possible_cpus()
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
    assert taken.sent == 5 * possible_cpus()
    assert maps.traffic.take(KEY) is None
    assert list(maps.traffic.items()) == []


def test_a_map_of_another_layout_is_refused(mesh: Engine) -> None:
    with pytest.raises(LayoutError, match="made by another version"):
        PinnedSums(mesh.place.pin_dir / "maps" / "limits")


def test_a_missing_pin_is_named(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="traffic"):
        PinnedSums(tmp_path / "traffic")


def test_every_cpu_is_counted() -> None:
    assert possible_cpus() >= len(os.sched_getaffinity(0))


def test_counters_have_every_name(maps: Maps) -> None:
    assert set(maps.counters()) == set(Counter)


def test_what_the_kernel_counts_is_summed_over_cpus(mesh: Engine) -> None:
    hits = mesh.maps.hits
    assert list(hits.items()) == []
    raw = struct.pack(f"={possible_cpus()}Q", *range(possible_cpus()))
    kernel_table = PinnedTable(mesh.place.pin_dir / "maps" / "hits", HIT, U64)
    elements.update(kernel_table.fd, Hit(1, 2, 3).pack(), raw, "hits")
    kernel_table.close()
    assert list(hits.items()) == [(Hit(1, 2, 3), sum(range(possible_cpus())))]
    assert hits.delete(Hit(1, 2, 3))
    assert not hits.delete(Hit(1, 2, 3))
    with pytest.raises(LayoutError, match="hits is 8 -> 8 bytes, expected 40 -> 8"):
        PinnedCounts(mesh.place.pin_dir / "maps" / "hits", POD)
