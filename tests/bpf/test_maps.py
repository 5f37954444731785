"""Tables: the kernel's and the one in memory behave the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bpf.errors import KernelError, LayoutError, MapFullError
from bpf.knobs import Knobs
from bpf.layout import (
    Address,
    AddressKey,
    AddressKind,
    Counter,
    Endpoint,
    EndpointKey,
    Flow,
    FlowKey,
    Pod,
    Port,
    PortKey,
)
from bpf.maps import ENDPOINT, ENDPOINT_KEY, POD, PORT_KEY, Maps, PinnedTable
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

    address = Address(top, 5, AddressKind.WORKLOAD, 15088)
    maps.addresses.put(AddressKey(packed("10.0.0.1")), address)
    assert list(maps.addresses.items()) == [(AddressKey(packed("10.0.0.1")), address)]

    maps.ports.put(PortKey(9, 80, 6, 4), Port(3, 2))
    assert list(maps.ports.items()) == [(PortKey(9, 80, 6, 4), Port(3, 2))]

    endpoint = Endpoint(packed("fd00::2"), 65535)
    maps.endpoints.put(EndpointKey(3, 1), endpoint)
    assert list(maps.endpoints.items()) == [(EndpointKey(3, 1), endpoint)]

    key = FlowKey(packed("10.0.0.1"), packed("10.0.0.2"), 40000, 80, top)
    flow = Flow(1, 2, packed("10.96.0.1"), 443, 3)
    maps.flows.put(key, flow)
    assert list(maps.flows.items()) == [(key, flow)]
    assert maps.flows.get(key) == flow


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
    with pytest.raises(LayoutError, match="netns cookie -1"):
        maps.pods.put(-1, Pod(1, 1))


def test_names_and_sizes_are_the_knobs(maps: Maps) -> None:
    assert (maps.flows.name, maps.flows.max_entries) == ("flows", SMALL.flows)
    assert (maps.addresses.name, maps.addresses.max_entries) == ("addresses", 256)


def test_counters_have_every_name(maps: Maps) -> None:
    assert set(maps.counters()) == set(Counter)


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
    with pytest.raises(LayoutError, match="keys of 8 and values of 24 bytes, not 16 and 16"):
        PinnedTable(mesh.place.pin_dir / "maps" / "endpoints", PORT_KEY, POD)


def test_a_missing_pin_is_named(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="maps/pods"):
        Maps.open(tmp_path)


def test_memory_has_the_sizes_of_the_default_knobs() -> None:
    assert Maps.memory().endpoints.max_entries == Knobs().endpoints
    assert (ENDPOINT.size, ENDPOINT_KEY.size) == (Endpoint.SIZE, EndpointKey.SIZE)
