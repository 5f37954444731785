"""What tells one load from another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bpf.build import build, map_layouts
from bpf.errors import LoadError
from bpf.knobs import Knobs
from bpf.sources import MAPS, PROGRAMS, program_text

KNOBS = Knobs()
TEXT = program_text()


def changed(text: str, knobs: Knobs = KNOBS) -> set[str]:
    """The maps whose layout differs from that of our sources."""
    assert text != TEXT or knobs != KNOBS
    before, after = build(TEXT, KNOBS, PROGRAMS), build(text, knobs, PROGRAMS)
    assert before.programs != after.programs
    return {name for name in MAPS if before.maps[name] != after.maps[name]}


def with_field(struct: str) -> str:
    return TEXT.replace(f"struct {struct} {{", f"struct {struct} {{\n\t__u64 another;")


@pytest.mark.parametrize(
    ("struct", "maps"),
    [
        ("address", {"addresses", "ranges"}),
        ("address_key", {"addresses"}),
        ("guard", {"guards", "member_guards"}),
        ("flow", {"flows", "flow_slots", "narrowing"}),
        ("peer", {"answers"}),
        ("pending", {"pending", "waiting"}),
        ("resolution", set()),  # no map's
    ],
)
def test_a_struct_changes_the_maps_that_hold_it(struct: str, maps: set[str]) -> None:
    assert changed(with_field(struct)) == maps


@pytest.mark.parametrize(
    ("before", "after", "maps"),
    [
        ("COUNTER_MAX = ", "COUNTER_MAX = 9", {"counters"}),
        ("ADDRESS_LOCAL = 1,", "ADDRESS_LOCAL = 1, ADDRESS_NEW = 64,", set()),
        ('"percpu_array"', '"array"', {"counters", "limits", "narrowing"}),
        ("/* hash of the workload's uid */", "/* that of another */", set()),
        ("return SK_PASS;", "return 1;", set()),
    ],
)
def test_what_else_changes_a_map(before: str, after: str, maps: set[str]) -> None:
    assert changed(TEXT.replace(before, after)) == maps


def test_the_macro_that_declares_a_map_is_part_of_it() -> None:
    text = TEXT.replace('"lru_hash", key, value', '"lru_percpu_hash", key, value')
    assert changed(text) == {"sticky", "replies"}


@pytest.mark.parametrize("name", ["pods", "ranges", "flows", "pending"])
def test_a_size_is_its_own_maps_alone(name: str) -> None:
    size = getattr(KNOBS, name) * 2
    assert changed(TEXT, replace(KNOBS, **{name: size})) == {name}


def test_where_a_program_is_attached_is_part_of_the_programs() -> None:
    first, *others = PROGRAMS
    moved = (replace(first, attach=others[0].attach), *others)
    assert build(TEXT, KNOBS, moved).programs != build(TEXT, KNOBS, PROGRAMS).programs
    assert build(TEXT, KNOBS, PROGRAMS) == build(TEXT, Knobs(), PROGRAMS)


RINGBUF = """
#define RINGBUF(name, size)                                                      \\
	struct name##_table_t {                                                  \\
		__u32 max_entries;                                               \\
	};                                                                       \\
	__attribute__((section("maps/ringbuf")))                                 \\
	struct name##_table_t name = {.max_entries = size}

struct event {
	__u64 moment;
};

static int helper(int x)
{
	if (x) {
		return 1;
	}
	return 0;
}

RINGBUF(events, MAX_FLOWS);
BPF_TABLE("percpu_hash", struct event, __u64, traffic, 7);
"""


def test_declarations_of_every_form_are_read() -> None:
    layouts = map_layouts(RINGBUF, KNOBS)
    assert set(layouts) == {"events", "traffic"}
    assert f".max_entries = {KNOBS.flows}" in layouts["events"]
    assert layouts["traffic"].endswith("struct event { __u64 moment; }")
    with pytest.raises(LoadError, match="RINGBUF takes 2 arguments"):
        map_layouts(RINGBUF.replace("(events, MAX_FLOWS)", "(events)"), KNOBS)
