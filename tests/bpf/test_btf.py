"""The kernel's type information."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from bpf.btf import WANTED, macros, numbers

INT, UNION, ENUM, STRUCT, FUNC_PROTO = 1, 5, 6, 4, 13


class Blob:
    """Type information made by hand."""

    def __init__(self) -> None:
        self.names = b"\0"
        self.types = b""

    def name(self, text: str) -> int:
        """Where a name is."""
        if not text:
            return 0
        self.names += text.encode() + b"\0"
        return len(self.names) - len(text) - 1

    def add(self, kind: int, name: str, members: list[bytes], flag: int = 0) -> None:
        """One type."""
        info = flag << 31 | kind << 24 | len(members)
        self.types += struct.pack("=III", self.name(name), info, 0) + b"".join(members)

    def member(self, name: str, bits: int, kind: int = 0) -> bytes:
        """One member of a struct or union."""
        return struct.pack("=III", self.name(name), kind, bits)

    def pack(self) -> bytes:
        """As in /sys/kernel/btf."""
        sizes = (0, len(self.types), len(self.types), len(self.names))
        return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, *sizes) + self.types + self.names


@pytest.fixture
def blob() -> bytes:
    """A struct with a union without a name in it, past types of other lengths."""
    made = Blob()
    made.add(FUNC_PROTO, "", [bytes(8)] * 3)
    made.types += struct.pack("=III", made.name("int"), INT << 24, 4) + bytes(4)
    made.add(UNION, "", [made.member("left", 0), made.member("right", 64)])
    fields = [made.member("first", 0), made.member("", 128, 3), made.member("last", 320)]
    made.add(STRUCT, "thing", fields)
    made.add(STRUCT, "bits", [made.member("one", 3 << 24 | 16)], flag=1)
    values = [
        struct.pack("=Ii", made.name("RED"), -1),
        struct.pack("=Ii", made.name("BLUE"), 7),
    ]
    made.add(ENUM, "colour", values)
    return made.pack()


@pytest.mark.parametrize(
    ("outer", "inner", "value"),
    [
        ("thing", "first", 0),
        ("thing", "left", 16),
        ("thing", "right", 24),
        ("thing", "last", 40),
        ("bits", "one", 2),
        ("colour", "RED", -1),
        ("colour", "BLUE", 7),
        ("thing", "absent", None),
        ("colour", "GREEN", None),
        ("absent", "first", None),
        ("int", "first", None),
    ],
)
def test_numbers(blob: bytes, outer: str, inner: str, value: int | None) -> None:
    expected = {} if value is None else {"NUMBER": value}
    assert numbers(blob, {"NUMBER": (outer, inner)}) == expected


@pytest.mark.parametrize("raw", [b"", b"\x9f\xeb", bytes(100)])
def test_what_is_no_type_information_tells_nothing(raw: bytes) -> None:
    assert numbers(raw, WANTED) == {}


def test_this_kernel_tells_all() -> None:
    found = macros()
    assert found.keys() == WANTED.keys()
    assert all(number > 0 for number in found.values())


def test_a_part_is_nothing(
    blob: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "vmlinux"
    assert macros(source) == {}
    source.write_bytes(blob)
    assert macros(source) == {}
    assert "No such file" in caplog.text
    assert "doesn't tell FILE_FLAGS, PSOCK_INGRESS_MSG, " in caplog.text
