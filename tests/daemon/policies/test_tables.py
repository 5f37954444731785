from __future__ import annotations

import pytest

from bpf.errors import MapFullError
from bpf.knobs import Knobs
from bpf.layout import Chunk, ChunkFlag, Hit, IdentityRulesKey, Rules
from bpf.maps import Maps
from daemon.policies.compile import compile_set
from daemon.policies.identities import identity_hash
from daemon.policies.tables import MOST, Tables, WrittenSet
from tests.ztunnel_compat.policies import cidr, exact, policy, when
from ztunnel_compat.identity import Identity

WEB = Identity("td", "app", "web")
OTHER = Identity("td", "app", "other")
BUSY = policy(
    "busy",
    when(namespaces=(exact("app"),), destination_ports=(80, 81)),
    when(source_ips=(cidr("10.0.0.0/8"),), destination_ips=(cidr("fd00::/8"),)),
)


def write(tables: Tables, *policies, identities=(WEB,)) -> WrittenSet:
    (*_, written) = tables.write(compile_set(policies, 4), identities)
    return written


def entries(maps: Maps) -> list[int]:
    return [
        len(list(table.items()))
        for table in (
            maps.chunks,
            maps.chunk_identities,
            maps.chunk_sources,
            maps.chunk_destinations,
            maps.chunk_ports,
        )
    ]


def test_a_set_is_written_and_removed_whole():
    maps = Maps.memory()
    tables = Tables(maps)
    first, second = write(tables, BUSY), write(tables, BUSY)
    assert (first.number, second.number) == (1, 2)
    assert entries(maps) == [2, 4, 6, 6, 4]
    tables.remove(first)
    assert entries(maps) == [1, 2, 3, 3, 2]
    tables.remove(second)
    assert entries(maps) == [0, 0, 0, 0, 0]
    assert tables.numbers == {}


def test_identities_come_later_and_go_with_the_set():
    maps = Maps.memory()
    tables = Tables(maps)
    written = write(tables, BUSY)
    tables.add_identity(written, OTHER)
    tables.add_identity(written, OTHER)
    key = IdentityRulesKey(1, identity_hash(OTHER))
    assert maps.chunk_identities.get(key) == Rules((0b11).to_bytes(128, "little"))
    tables.remove(written)
    assert entries(maps) == [0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "full", ["chunks", "chunk_identities", "chunk_sources", "chunk_destinations", "chunk_ports"]
)
def test_what_does_not_fit_is_taken_back(full):
    maps = Maps.memory(Knobs(**{full: 1}))
    tables = Tables(maps)
    policies = [BUSY]
    if full == "chunks":
        policies += [policy("many", *[when(destination_ports=(80,))] * 1024)]
    with pytest.raises(MapFullError, match=f"map {full} is full"):
        write(tables, *policies)
    assert entries(maps) == [0, 0, 0, 0, 0]
    assert tables.numbers == {}


def test_a_set_that_is_not_written_to_its_end_is_taken_back():
    maps = Maps.memory()
    tables = Tables(maps)
    steps = tables.write(compile_set([BUSY], 4), ())
    next(steps)
    steps.close()
    assert entries(maps) == [0, 0, 0, 0, 0]


def test_numbers_go_on_above_what_is_there_and_wrap():
    maps = Maps.memory()
    maps.chunks.put(7, Chunk())
    tables = Tables(maps)
    assert write(tables, BUSY).number == 8
    tables.next = MOST + 1
    assert write(tables, BUSY).number == 1
    tables.next = 6
    assert write(tables, *[BUSY] * 513).number == 9


def test_a_sweep_deletes_what_nothing_uses():
    maps = Maps.memory()
    before = Tables(maps)
    kept, left = write(before, *[BUSY] * 513), write(before, BUSY)
    maps.hits.put(Hit(left.number, 1, 1), 5)  # type: ignore[attr-defined]
    maps.hits.put(Hit(0, 65535, 5), 5)  # type: ignore[attr-defined]
    maps.chunk_ports.put(
        next(key for key, _ in maps.chunk_ports.items()).__class__(77, 80), Rules()
    )
    tables = Tables(maps)
    assert tables.numbers_of(kept.number) == {1, 2}
    assert tables.numbers_of(99) == set()
    assert tables.sweep(tables.numbers_of(kept.number)) == 2
    assert {n for n, _ in maps.chunks.items()} == {1, 2}
    assert {key.chunk for key, _ in maps.chunk_ports.items()} == {1, 2}
    assert [hit.chunk for hit, _ in maps.hits.items()] == [0]
    assert tables.numbers == {1: ChunkFlag.MORE | 32 | 15, 2: 32 | 15}
