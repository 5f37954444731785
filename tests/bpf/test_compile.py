"""The compiler child and what is made of its words."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpf import compile as compiling
from bpf.compile import compile_programs, explain, header_tree
from bpf.errors import LoadError
from bpf.sources import HERE, PROGRAMS, program_text
from tests.bpf.engine import SMALL, Place, place


def compile_in(where: Place, text: str) -> None:
    maps, staging = where.pin_dir / "maps", where.pin_dir / "progs"
    for directory in (maps, staging):
        directory.mkdir(parents=True)
    compile_programs(text, SMALL, maps, staging)
    assert {path.name for path in staging.iterdir()} == {program.name for program in PROGRAMS}


def test_our_sources_compile_without_a_warning() -> None:
    with place("warnings") as where:
        compile_in(where, '#pragma clang diagnostic error "-Wall"\n' + program_text())


def test_a_warning_would_be_found() -> None:
    careless = "static int unused_function(void) { return 1; }\n"
    text = '#pragma clang diagnostic error "-Wall"\n' + program_text() + careless
    with place("warnings") as where, pytest.raises(LoadError, match="unused function"):
        compile_in(where, text)


def test_the_header_tree_is_small_and_whole(tmp_path: Path) -> None:
    header_tree(tmp_path)
    links = [path for path in tmp_path.rglob("*") if path.is_symlink()]
    assert links
    assert all(path.exists() for path in links)
    ours = (HERE / "headers").rglob("*.h")
    assert sum(path.stat().st_size for path in ours) < 2000


def test_a_missing_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "PYTHON", "/nowhere/python3")
    with pytest.raises(LoadError, match="/nowhere/python3 can't be run"):
        compile_programs("", SMALL, Path("/x"), Path("/y"))


VERIFIER_LOG = """\
bpf: Failed to load program: Permission denied
0: (b7) r0 = 0
R1 invalid mem access 'scalar'
processed 12 insns (limit 1000000) max_states_per_insn 0

Exception: connect4: not permitted
"""


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", "the compiler was killed without a word"),
        (
            "ModuleNotFoundError: No module named 'bcc'\n",
            "BCC isn't installed; apt-get install python3-bpfcc",
        ),
        (
            "bpf/src/a.bpf.c:3:1: warning: x\nbpf/src/a.bpf.c:4:1: error: y\n1 error\n",
            "bpf/src/a.bpf.c:4:1: error: y",
        ),
        (VERIFIER_LOG, "R1 invalid mem access 'scalar' (Exception: connect4: not permitted)"),
        ("something\nelse\n", "else"),
    ],
)
def test_a_log_is_told_in_a_line(log: str, line: str) -> None:
    assert explain(log) == line
