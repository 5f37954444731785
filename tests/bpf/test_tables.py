"""Tables: the kernel's and the one in memory behave the same."""

from __future__ import annotations

import pytest

from bpf.codecs import U64
from bpf.errors import LayoutError, MapFullError
from bpf.layout import Address, Endpoint, EndpointKey, Pod, RangeBits, RangeKey
from bpf.maps import POD, PORT_KEY, Maps
from bpf.tables import PinnedTable
from tests.bpf.engine import Engine, packed


def test_an_absent_entry_is_none(maps: Maps) -> None:
    assert maps.pods.get(7) is None
    assert not maps.pods.delete(7)
    assert list(maps.pods.items()) == []


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
    assert (maps.endpoints.name, maps.endpoints.max_entries) == ("endpoints", 4096)
    assert (maps.addresses.name, maps.addresses.max_entries) == ("addresses", 256)


def test_a_map_of_another_layout_is_refused(mesh: Engine) -> None:
    with pytest.raises(LayoutError, match="keys of 8 and values of 40 bytes, not 16 and 40"):
        PinnedTable(mesh.place.pin_dir / "maps" / "endpoints", PORT_KEY, POD)


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
