"""All programs as one text."""

from __future__ import annotations

import re

from bpf.build import map_layouts
from bpf.knobs import Knobs
from bpf.meta import KEY_SIZE, TEXT_SIZE
from bpf.sources import HERE, MAPS, POD_PROGRAM, PROGRAMS, program_text


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
    functions = re.findall(r"^int (\w+)\(struct \w+ \*ctx\)", text, re.MULTILINE)
    assert sorted(functions) == sorted(program.name for program in PROGRAMS)
    assert len(set(MAPS)) == len(MAPS)
    layouts = map_layouts(text, Knobs())
    assert set(layouts) == set(MAPS)
    assert max(map(len, layouts.values())) <= TEXT_SIZE
    assert max(map(len, MAPS)) <= KEY_SIZE
    assert POD_PROGRAM in PROGRAMS


def test_readers_are_replaced_before_writers() -> None:
    order = [program.name for program in PROGRAMS]
    for reader in ("getsockopt", "getpeername4", "getpeername6", "sk_lookup"):
        assert order.index(reader) < order.index("sockops")  # of flows
    assert order.index("sockops") < order.index("connect4")  # of pending
