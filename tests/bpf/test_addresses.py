"""Addresses of 16 bytes."""

from __future__ import annotations

import pytest

from bpf.addresses import family, mapped
from bpf.errors import LayoutError
from bpf.layout import Family


def test_ipv4_is_mapped_and_ipv6_stays() -> None:
    assert mapped(b"\x0a\x00\x00\x01") == bytes(10) + b"\xff\xff\x0a\x00\x00\x01"
    assert mapped(b"\xfd" + bytes(15)) == b"\xfd" + bytes(15)
    assert mapped(mapped(b"\x0a\x00\x00\x01")) == mapped(b"\x0a\x00\x00\x01")


def test_families() -> None:
    assert family(b"\x0a\x00\x00\x01") is Family.IPV4
    assert family(mapped(b"\x0a\x00\x00\x01")) is Family.IPV4
    assert family(bytes(15) + b"\x01") is Family.IPV6


def test_other_lengths_are_refused() -> None:
    with pytest.raises(LayoutError, match="5 bytes, not 4 or 16"):
        mapped(b"12345")
