"""The compiler child, and what is made of its words."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpf import compile as compiling
from bpf.compile import compiled, compiler_flags, explain, header_tree
from bpf.errors import LoadError
from bpf.sources import HERE, MAPS, PROGRAMS, program_text
from tests.bpf.engine import SMALL


def compile_text(text: str) -> None:
    made = compiled(text, compiler_flags(SMALL), PROGRAMS)
    assert set(made.programs) == {program.name for program in PROGRAMS}
    assert {spec.name for spec in made.maps} == set(MAPS)


def test_our_sources_compile_without_a_warning() -> None:
    compile_text('#pragma clang diagnostic error "-Wall"\n' + program_text())


def test_a_warning_would_be_found() -> None:
    careless = "static int unused_function(void) { return 1; }\n"
    text = '#pragma clang diagnostic error "-Wall"\n' + program_text() + careless
    with pytest.raises(LoadError, match="unused function"):
        compile_text(text)


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
        compiled("", (), ())


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
        ("something\nelse\n", "else"),
    ],
)
def test_a_log_is_told_in_a_line(log: str, line: str) -> None:
    assert explain(log) == line


def test_a_program_that_is_not_there_is_named() -> None:
    text = program_text().replace("int getsockopt(", "int another(")
    with pytest.raises(LoadError, match="no program getsockopt"):
        compile_text(text)
