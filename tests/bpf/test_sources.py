"""All programs as one text."""

from __future__ import annotations

import re
from dataclasses import replace

from bpf.knobs import Knobs
from bpf.sources import CGROUP_PROGRAMS, HERE, MAPS, PROGRAMS, build, program_text


def test_each_header_is_in_it_once_and_where_it_is_used() -> None:
    text = program_text()
    for header in (HERE / "include").glob("*.h"):
        assert text.count(f'#line 1 "bpf/include/{header.name}"') == 1
    assert "#include" not in text


def test_messages_point_to_the_right_lines() -> None:
    lines = program_text().splitlines()
    source = (HERE / "src" / "connect.bpf.c").read_text().splitlines()
    includes = [number for number, line in enumerate(source, 1) if line.startswith("#include")]
    after = lines.index(f'#line {includes[-1] + 1} "bpf/src/connect.bpf.c"')
    assert lines[after + 1] == source[includes[-1]]


def test_the_tables_name_what_the_sources_have() -> None:
    text = program_text()
    functions = re.findall(r"^int (\w+)\(struct bpf_\w+ \*ctx\)", text, re.MULTILINE)
    assert sorted(functions) == sorted(program.name for program in PROGRAMS)
    declared = re.findall(r'PIN_DIR\s*"/(\w+)"', text)
    declared += re.findall(r"^PINNED_HASH\([^;]*?(\w+), MAX_\w+\);", text, re.MULTILINE)
    assert sorted(declared) == sorted(MAPS)
    assert set(PROGRAMS) > set(CGROUP_PROGRAMS)


def test_programs_and_maps_are_told_apart() -> None:
    knobs = Knobs()
    first = build("text", knobs)
    other_program = build("other", knobs)
    other_size = build("text", replace(knobs, pods=7))
    assert first == build("text", Knobs())
    assert other_program.programs != first.programs
    assert other_program.maps == first.maps
    assert other_size.maps != first.maps
    assert {len(first.programs), len(first.maps)} == {32}
