"""layout.py is what abi.h says, and what the compiler makes of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bpf import layout, loader, sources
from bpf.errors import LayoutError
from bpf.generate import HEADER, LAYOUT, HeaderError, parse, render
from bpf.layout import Address, AddressKind, Counter, Flow, FlowFlag, Port, PortKey
from bpf.loader import load
from tests.bpf.engine import SMALL, place


def test_layout_is_current() -> None:
    assert LAYOUT.read_text() == render(HEADER.read_text())


def test_the_compiler_agrees_on_every_struct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes and offsets, asserted by the compiler that the programs are built with."""
    claims = []
    for declaration in parse(HEADER.read_text()):
        offset = 0
        for field in declaration.fields:
            claims.append(
                f"__builtin_offsetof(struct {declaration.name}, {field.name}) == {offset}"
            )
            offset += field.size
        if declaration.fields:
            claims.append(f"sizeof(struct {declaration.name}) == {offset}")
            assert offset == getattr(layout, declaration.class_name).SIZE
    asserts = "\n".join(f'_Static_assert({claim}, "{claim}");' for claim in claims)
    text = f"{sources.program_text()}\n{asserts}\n"
    monkeypatch.setattr(loader, "program_text", lambda: text)
    with place("layout") as where:
        load(where.pin_dir, where.cgroup, SMALL)


def test_every_struct_packs_to_its_size_and_back() -> None:
    for name in ("Pod", "AddressKey", "Address", "PortKey", "Port", "EndpointKey", "FlowKey"):
        mirror = getattr(layout, name)
        kinds = {field.name: field.type for field in dataclasses.fields(mirror)}
        value = mirror(**{n: bytes(16) if t == "bytes" else 7 for n, t in kinds.items()})
        assert len(value.pack()) == mirror.SIZE
        assert mirror.unpack(value.pack()) == value


def test_ports_are_in_network_order_and_padding_is_zero() -> None:
    assert PortKey(1, 0x1234, 4).pack() == (
        (1).to_bytes(8, "little") + b"\x12\x34" + b"\x04" + bytes(5)
    )


def test_values_that_do_not_fit_name_themselves() -> None:
    with pytest.raises(LayoutError, match="port=70000 is no port"):
        PortKey(1, 70000, 4).pack()
    with pytest.raises(LayoutError, match=r"original=.* has 4 bytes, not 16"):
        Flow(1, 2, bytes(4), 80, 0).pack()
    with pytest.raises(LayoutError, match="Port"):
        Port(1 << 32, 0).pack()
    with pytest.raises(LayoutError, match="Address: 3 bytes, not 32"):
        Address.unpack(b"abc")


def test_enums_lose_their_prefix_and_counts_are_no_members() -> None:
    assert (AddressKind.SERVICE, AddressKind.WORKLOAD) == (1, 2)
    assert FlowFlag.WAYPOINT | FlowFlag.SERVICE == 3
    assert "MAX" not in Counter.__members__
    assert sorted(Counter) == list(range(len(Counter)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("struct a {\n\t__u8 x;\n\t__u32 y;\n};", "padding before y"),
        ("struct a {\n\t__u32 x;\n\t__u8 y;\n};", "padding at its end"),
        ("struct a {\n\tint x;\n};", "x has a type that is not mirrored"),
        ("struct a {\n\t__u32 x[4];\n};", "x has a type that is not mirrored"),
        ("struct a {\n\t__u32 x : 3;\n};", "can't read"),
        ("enum a {\n\tA_X,\n};", "can't read 'A_X,'"),
        ("\n\nunion a;", "abi.h line 3"),
    ],
)
def test_what_cannot_be_mirrored_is_an_error(text: str, message: str) -> None:
    with pytest.raises(HeaderError, match=message):
        parse(text)


def test_the_layouts_hash_follows_its_meaning_only() -> None:
    text = HEADER.read_text()
    stamp = next(line for line in render(text).splitlines() if line.startswith("LAYOUT_HASH"))
    assert stamp in render(text.replace("struct pod {", "/* new words */\nstruct pod {"))
    assert stamp not in render(text.replace("__u32 kind;", "__u32 sort;"))
    assert Path(layout.__file__) == LAYOUT
