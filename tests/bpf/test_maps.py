"""Tables: the kernel's and the one in memory behave the same."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from bpf.errors import KernelError, LayoutError, MapFullError
from bpf.kernel import possible_cpus, update
from bpf.knobs import Knobs
from bpf.layout import (
    ActiveKey,
    Address,
    AddressKey,
    AddressKind,
    Chunk,
    Counter,
    Endpoint,
    EndpointKey,
    Flow,
    FlowKey,
    Hit,
    IdentityRulesKey,
    LocalAddress,
    Pod,
    Port,
    PortKey,
    PortRulesKey,
    RangeBits,
    RangeKey,
    RangeRulesKey,
    Reply,
    ReplyKey,
    Rules,
    Sticky,
    StickyKey,
    StickyKind,
)
from bpf.maps import (
    ENDPOINT,
    ENDPOINT_KEY,
    HIT,
    POD,
    PORT_KEY,
    U64,
    Maps,
    PinnedCounts,
    PinnedTable,
)
from tests.bpf.engine import SMALL, Engine, packed


@pytest.fixture(params=["pinned", "memory"])
def maps(request: pytest.FixtureRequest) -> Maps:
    if request.param == "memory":
        return Maps.memory(SMALL)
    mesh: Engine = request.getfixturevalue("mesh")
    return mesh.maps


def test_an_absent_entry_is_none(maps: Maps) -> None:
    assert maps.pods.get(7) is None
    assert not maps.pods.delete(7)
    assert list(maps.pods.items()) == []


def test_entries_of_every_map_come_back_as_they_were(maps: Maps) -> None:
    top = (1 << 64) - 1
    maps.pods.put(top, Pod(top, 0))
    assert list(maps.pods.items()) == [(top, Pod(top, 0))]

    address = Address(top, 5, AddressKind.WORKLOAD, 3, 60)
    maps.addresses.put(AddressKey(packed("10.0.0.1")), address)
    assert list(maps.addresses.items()) == [(AddressKey(packed("10.0.0.1")), address)]

    maps.ports.put(PortKey(9, 80, 4), Port(3, 2))
    assert list(maps.ports.items()) == [(PortKey(9, 80, 4), Port(3, 2))]

    endpoint = Endpoint(packed("fd00::2"), 65535)
    maps.endpoints.put(EndpointKey(3, 1), endpoint)
    assert list(maps.endpoints.items()) == [(EndpointKey(3, 1), endpoint)]

    key = FlowKey(packed("10.0.0.1"), packed("10.0.0.2"), 40000, 80, top)
    flow = Flow(1, 2, packed("10.96.0.1"), 443, 3)
    maps.flows.put(key, flow)
    assert list(maps.flows.items()) == [(key, flow)]
    assert maps.flows.get(key) == flow


def test_entries_that_the_kernel_writes_come_back_as_they_were(maps: Maps) -> None:
    top = (1 << 64) - 1
    place = ActiveKey(packed("10.0.0.2"), 80)
    maps.active.put(place, top)
    assert list(maps.active.items()) == [(place, top)]

    client = StickyKey(top, 9, 80, 4, StickyKind.SOCKET)
    kept = Sticky(packed("10.0.0.2"), 8080, 1, 3, 5, top, 7)
    maps.sticky.put(client, kept)
    assert list(maps.sticky.items()) == [(client, kept)]

    asked = ReplyKey(7, packed("fd00::2"), 53)
    maps.replies.put(asked, Reply(packed("fd00:96::1"), 53, top))
    assert list(maps.replies.items()) == [(asked, Reply(packed("fd00:96::1"), 53, top))]

    maps.nameservers.put(LocalAddress(packed("10.96.0.10")), 1)
    assert list(maps.nameservers.items()) == [(LocalAddress(packed("10.96.0.10")), 1)]

    maps.member_levels.put(0, 0xFFFFFFFF)
    assert maps.member_levels.get(0) == 0xFFFFFFFF
    with pytest.raises(LayoutError, match="number 4294967296"):
        maps.member_levels.put(0, 1 << 32)


def test_put_replaces(maps: Maps) -> None:
    maps.pods.put(7, Pod(1, 1))
    maps.pods.put(7, Pod(2, 2))
    assert list(maps.pods.items()) == [(7, Pod(2, 2))]
    assert maps.pods.delete(7)
    assert maps.pods.get(7) is None


def test_a_full_map_says_so_and_keeps_what_it_has(maps: Maps) -> None:
    for cookie in range(maps.pods.max_entries):
        maps.pods.put(cookie, Pod(cookie, 0))
    with pytest.raises(MapFullError, match=r"map pods is full at 64 entries") as full:
        maps.pods.put(1 << 40, Pod(1, 1))
    assert (full.value.map_name, full.value.size) == ("pods", 64)
    maps.pods.put(3, Pod(99, 0))  # replacing needs no room
    assert maps.pods.get(3) == Pod(99, 0)
    assert maps.pods.delete(4)
    maps.pods.put(1 << 40, Pod(1, 1))


def test_items_sees_every_entry_of_a_large_map_once(maps: Maps) -> None:
    for index in range(4096):
        maps.endpoints.put(EndpointKey(1, index), Endpoint(bytes(16), index))
    keys = [key.index for key, _value in maps.endpoints.items()]
    assert sorted(keys) == list(range(4096))


def test_entries_may_be_deleted_during_items(maps: Maps) -> None:
    for index in range(500):
        maps.endpoints.put(EndpointKey(1, index), Endpoint(bytes(16), index))
    for key, value in maps.endpoints.items():
        assert value.port == key.index
        assert maps.endpoints.delete(key)
    assert list(maps.endpoints.items()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (EndpointKey(-1, 0), Endpoint(bytes(16), 1)),
        (EndpointKey(1 << 32, 0), Endpoint(bytes(16), 1)),
        (EndpointKey(1, 1), Endpoint(bytes(4), 1)),
        (EndpointKey(1, 1), Endpoint(bytes(16), 65536)),
        (EndpointKey(1, 1), Endpoint(bytes(16), -1)),
    ],
)
def test_what_does_not_fit_is_refused(maps: Maps, key: EndpointKey, value: Endpoint) -> None:
    with pytest.raises(LayoutError):
        maps.endpoints.put(key, value)
    assert list(maps.endpoints.items()) == []


def test_a_cookie_that_does_not_fit_is_refused(maps: Maps) -> None:
    with pytest.raises(LayoutError, match="number -1"):
        maps.pods.put(-1, Pod(1, 1))


def test_names_and_sizes_are_the_knobs(maps: Maps) -> None:
    assert (maps.flows.name, maps.flows.max_entries) == ("flows", SMALL.flows)
    assert (maps.addresses.name, maps.addresses.max_entries) == ("addresses", 256)


def test_counters_have_every_name(maps: Maps) -> None:
    assert set(maps.counters()) == set(Counter)


def test_policies_come_back_as_they_were(maps: Maps) -> None:
    rules = Rules(bytes(range(128)))
    maps.chunks.put(7, Chunk(deny=rules.bits, flags=3, words=2))
    assert list(maps.chunks.items()) == [(7, Chunk(deny=rules.bits, flags=3, words=2))]
    maps.chunk_identities.put(IdentityRulesKey(7, 9), rules)
    assert list(maps.chunk_identities.items()) == [(IdentityRulesKey(7, 9), rules)]
    maps.chunk_ports.put(PortRulesKey(7, 80), rules)
    assert list(maps.chunk_ports.items()) == [(PortRulesKey(7, 80), rules)]
    for table in (maps.chunk_sources, maps.chunk_destinations):
        table.put(RangeRulesKey(32, 7, packed("::")), rules)
        assert list(table.items()) == [(RangeRulesKey(32, 7, packed("::")), rules)]
    with pytest.raises(LayoutError, match="number 4294967296"):
        maps.chunks.put(1 << 32, Chunk())


def test_what_the_kernel_counts_is_summed_over_cpus(mesh: Engine) -> None:
    hits = mesh.maps.hits
    assert list(hits.items()) == []
    raw = struct.pack(f"={possible_cpus()}Q", *range(possible_cpus()))
    kernel_table = PinnedTable(mesh.place.pin_dir / "maps" / "hits", HIT, U64)
    update(kernel_table.fd, Hit(1, 2, 3).pack(), raw, "hits")
    kernel_table.close()
    assert list(hits.items()) == [(Hit(1, 2, 3), sum(range(possible_cpus())))]
    assert hits.delete(Hit(1, 2, 3))
    assert not hits.delete(Hit(1, 2, 3))
    with pytest.raises(LayoutError, match="hits is 8 -> 8 bytes, expected 40 -> 8"):
        PinnedCounts(mesh.place.pin_dir / "maps" / "hits", POD)


def test_another_process_sees_the_same_entries(mesh: Engine) -> None:
    mesh.maps.pods.put(7, Pod(11, 12))
    code = (
        "import sys; from pathlib import Path; from bpf.maps import Maps;"
        "print(Maps.open(Path(sys.argv[1])).pods.get(7))"
    )
    command = [sys.executable, "-c", code, str(mesh.place.pin_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(Pod(11, 12))


def test_a_map_of_another_layout_is_refused(mesh: Engine) -> None:
    with pytest.raises(LayoutError, match="keys of 8 and values of 40 bytes, not 16 and 40"):
        PinnedTable(mesh.place.pin_dir / "maps" / "endpoints", PORT_KEY, POD)


def test_a_missing_pin_is_named(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="maps/counters"):
        Maps.open(tmp_path)


def test_memory_has_the_sizes_of_the_default_knobs() -> None:
    assert Maps.memory().endpoints.max_entries == Knobs().endpoints
    assert (ENDPOINT.size, ENDPOINT_KEY.size) == (Endpoint.SIZE, EndpointKey.SIZE)


def endpoint_keys(*indexes: int) -> bytes:
    return b"".join(EndpointKey(1, index).pack() for index in indexes)


def test_packed_entries_are_written_and_deleted_at_once(maps: Maps) -> None:
    values = [Endpoint(bytes(16), index).pack() for index in range(3000)]
    maps.endpoints.put_packed(endpoint_keys(*range(3000)), b"".join(values))
    assert maps.endpoints.get(EndpointKey(1, 2999)) == Endpoint(bytes(16), 2999)
    assert dict(maps.endpoints.packed_items()) == {
        EndpointKey(1, index).pack(): value for index, value in enumerate(values)
    }
    # Those that aren't there are passed over, wherever they are.
    maps.endpoints.delete_packed(endpoint_keys(9000, 0, 9001, 9002, *range(2, 3000), 9003))
    assert [key for key, _ in maps.endpoints.items()] == [EndpointKey(1, 1)]
    maps.endpoints.delete_packed(b"")


def test_packed_entries_go_as_far_as_there_is_room(maps: Maps) -> None:
    maps.pods.put(70, Pod(1))
    keys = b"".join(U64.pack(cookie) for cookie in range(100))
    with pytest.raises(MapFullError) as full:
        maps.pods.put_packed(keys, Pod(2).pack() * 100)
    assert full.value.done == maps.pods.max_entries - 1
    assert maps.pods.get(full.value.done - 1) == Pod(2)
    assert maps.pods.get(full.value.done) is None
    assert maps.pods.get(70) == Pod(1)


def test_tries_take_packed_entries_too(maps: Maps) -> None:
    keys = b"".join(
        RangeKey(RangeBits.NAMESPACE + 96 + length, 0, packed("10.0.0.0")).pack()
        for length in (8, 16)
    )
    maps.ranges.put_packed(keys, Address(1).pack() + Address(2).pack())
    assert sorted(a.name for _, a in maps.ranges.items()) == [1, 2]
    maps.ranges.delete_packed(keys)
    assert list(maps.ranges.items()) == []


def test_half_an_entry_is_refused(maps: Maps) -> None:
    with pytest.raises(LayoutError, match="9 and 0 bytes are no entries"):
        maps.pods.delete_packed(bytes(9))
    with pytest.raises(LayoutError, match="16 and 40 bytes are no entries"):
        maps.pods.put_packed(bytes(16), bytes(40))
    assert list(maps.pods.items()) == []
