"""Sizes."""

from __future__ import annotations

from dataclasses import fields

import pytest

from bpf.errors import LoadError
from bpf.knobs import Knobs
from bpf.sources import program_text


@pytest.mark.parametrize("size", [0, -1, (1 << 26) + 1])
def test_sizes_have_bounds(size: int) -> None:
    with pytest.raises(LoadError, match=f"map size flows={size}: must be 1 to"):
        Knobs(flows=size)


def test_slots_are_a_power_of_two() -> None:
    with pytest.raises(LoadError, match="pending=1000: must be a power of two"):
        Knobs(pending=1000)


def test_a_set_has_so_many_chunks_at_most() -> None:
    with pytest.raises(LoadError, match="set_chunks=65: must be 1 to 64"):
        Knobs(set_chunks=65)


def test_every_size_reaches_the_programs() -> None:
    text = program_text()
    assert Knobs(pods=5).macros()["MAX_PODS"] == 5
    assert len(Knobs().macros()) == len(fields(Knobs))
    assert all(name in text for name in Knobs().macros())


@pytest.mark.parametrize("size", [4096 * 3, 2048])
def test_a_ring_is_a_power_of_two_and_whole_pages(size: int) -> None:
    with pytest.raises(LoadError, match=f"map size events={size}: must be a power of two"):
        Knobs(events=size)
