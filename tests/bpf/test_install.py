"""Compiled objects in the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bpf import bpffs, kernel
from bpf.errors import KernelError, LoadError
from bpf.install import install, reason
from bpf.kernel import AttachType, ProgType
from bpf.objects import LOAD_64, PSEUDO_MAP_FD, Compiled, MapSpec, dump, parse, relocated
from bpf.sources import Program
from tests.bpf.engine import place

LOOKUP = Program("look", ProgType.SK_LOOKUP, AttachType.SK_LOOKUP)
LOAD_MAP = bytes([LOAD_64, PSEUDO_MAP_FD << 4 | 1]) + bytes(14)  # r1 = map 0
RETURN_1 = b"\xb7\x00\x00\x00\x01\x00\x00\x00" + b"\x95" + bytes(7)
RETURN_R1_FIELD = b"\x61\x10\x00\x00\x00\x00\x00\x00" + b"\x95" + bytes(7)
#: A header, then one type: a 4-byte integer without a name.
BTF = bytes.fromhex(
    "9feb0100 18000000 00000000 10000000 10000000 01000000"
    "00000000 00000001 04000000 20000000 00"
)
MAP = MapSpec("numbers", kernel.MAP_TYPE_ARRAY, 4, 4, 3, 0, 1, 1)


@pytest.fixture
def pins() -> Iterator[Path]:
    with place("install") as where:
        bpffs.ensure(where.pin_dir)
        (where.pin_dir / "maps").mkdir()
        (where.pin_dir / "progs").mkdir()
        yield where.pin_dir


def object_of(code: bytes) -> Compiled:
    return Compiled({"look": code}, (MAP,), BTF)


def test_maps_and_programs_are_pinned(pins: Path) -> None:
    install(object_of(LOAD_MAP + RETURN_1), pins / "maps", pins / "progs", [LOOKUP])
    with kernel.pinned(pins / "maps" / "numbers") as fd:
        info = kernel.map_info(fd, "numbers")
        assert (info.key_size, info.value_size, info.max_entries) == (4, 4, 3)
        assert info.btf  # so that bpftool shows what is in it
        assert kernel.types_by_id(info.btf, "numbers") == BTF
        before = info
    (pins / "progs" / "look").unlink()
    install(object_of(LOAD_MAP + RETURN_1), pins / "maps", pins / "progs", [LOOKUP])
    with kernel.pinned(pins / "maps" / "numbers") as fd:
        assert kernel.map_info(fd, "numbers") == before  # the same map


def test_what_the_verifier_says_is_told(pins: Path) -> None:
    with pytest.raises(LoadError, match="rejects program look: At program exit") as failed:
        install(object_of(LOAD_MAP + RETURN_R1_FIELD), pins / "maps", pins / "progs", [LOOKUP])
    assert "processed" in failed.value.log
    assert not list((pins / "progs").iterdir())


def test_other_failures_are_the_kernels(pins: Path) -> None:
    taken = pins / "progs" / "look"
    taken.mkdir()
    with pytest.raises(KernelError, match="File exists"):
        install(object_of(LOAD_MAP + RETURN_1), pins / "maps", pins / "progs", [LOOKUP])


def test_an_object_survives_its_form_on_disk() -> None:
    made = object_of(bytes(range(256)))
    assert parse(dump(made)) == made


def test_only_maps_are_linked() -> None:
    other = bytes([LOAD_64, 1]) + bytes(14)  # r1 = the number 0
    assert (
        relocated(LOAD_MAP + other, [7].__getitem__)
        == LOAD_MAP[:4] + b"\7\0\0\0" + LOAD_MAP[8:] + other
    )


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", ""),
        (
            "0: (b7) r0 = 0\nR1 invalid mem access\nprocessed 12 insns\n\n",
            "R1 invalid mem access",
        ),
        ("processed 12 insns", ""),
    ],
)
def test_the_verifiers_last_words(log: str, line: str) -> None:
    assert reason(log) == line
