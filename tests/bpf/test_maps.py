"""All maps: what is written comes back, from the kernel and from memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bpf.errors import KernelError, LayoutError
from bpf.knobs import Knobs
from bpf.layout import (
    Address,
    AddressKey,
    AddressKind,
    Chunk,
    Endpoint,
    EndpointKey,
    Flow,
    FlowKey,
    IdentityRulesKey,
    LocalAddress,
    Pod,
    Port,
    PortKey,
    PortRulesKey,
    RangeRulesKey,
    Reply,
    ReplyKey,
    Rules,
    Sticky,
    StickyKey,
    StickyKind,
)
from bpf.maps import ENDPOINT, ENDPOINT_KEY, Maps
from tests.bpf.engine import Engine, packed


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


def test_another_process_sees_the_same_entries(mesh: Engine) -> None:
    mesh.maps.pods.put(7, Pod(11, 12))
    code = (
        "import sys; from pathlib import Path; from bpf.maps import Maps;"
        "print(Maps.open(Path(sys.argv[1])).pods.get(7))"
    )
    command = [sys.executable, "-c", code, str(mesh.place.pin_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(Pod(11, 12))


def test_a_missing_pin_is_named(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="maps/flows"):
        Maps.open(tmp_path)


def test_memory_has_the_sizes_of_the_default_knobs() -> None:
    assert Maps.memory().endpoints.max_entries == Knobs().endpoints
    assert (ENDPOINT.size, ENDPOINT_KEY.size) == (Endpoint.SIZE, EndpointKey.SIZE)
