from __future__ import annotations

import pytest

from bpf.addresses import mapped
from bpf.layout import FlowKey
from bpf.pairs import lower_first

HERE, THERE = bytes(15) + b"\x01", bytes(15) + b"\x02"


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        # As a little-endian machine reads them, eight bytes at a time; ports likewise.
        ((HERE, 80), (THERE, 40000)),
        ((mapped(b"\x0a\x63\x02\x01"), 80), (mapped(b"\x0a\x63\x01\x02"), 80)),
        ((HERE, 0x0100), (HERE, 0x0002)),
    ],
)
def test_a_connection_has_one_name(lower: tuple[bytes, int], higher: tuple[bytes, int]) -> None:
    name = FlowKey(lower[0], higher[0], lower[1], higher[1])
    assert lower_first(name) == name
    assert lower_first(FlowKey(higher[0], lower[0], higher[1], lower[1])) == name
