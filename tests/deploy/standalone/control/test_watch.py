from __future__ import annotations

import os
from pathlib import Path

from deploy.standalone.control.watch import Findings, Look, Watcher, absolute, look

FIRST, SECOND = (1, 10, 100), (2, 10, 100)
NOTHING = Findings((), ())


def seen(**files: tuple[int, int, int]) -> Look:
    return Look(dict(files))


def test_the_first_look_reads_everything() -> None:
    watcher = Watcher()
    assert watcher.first(seen(a=FIRST, b=FIRST)) == Findings(("a", "b"), ())
    assert watcher.next(seen(a=FIRST, b=FIRST)) == NOTHING


def test_a_change_is_read_when_it_has_settled() -> None:
    watcher = Watcher()
    watcher.first(seen(a=FIRST))
    assert watcher.next(seen(a=SECOND)) == NOTHING
    assert watcher.next(seen(a=(3, 11, 100))) == NOTHING
    assert watcher.next(seen(a=(3, 11, 100))) == Findings(("a",), ())
    assert watcher.next(seen(a=(3, 11, 100))) == NOTHING


def test_a_file_that_is_written_anew_is_not_gone() -> None:
    watcher = Watcher()
    watcher.first(seen(a=FIRST))
    assert watcher.next(seen()) == NOTHING
    assert watcher.next(seen(a=SECOND)) == NOTHING
    assert watcher.next(seen(a=SECOND)) == Findings(("a",), ())


def test_a_file_that_stays_away_is_gone() -> None:
    watcher = Watcher()
    watcher.first(seen(a=FIRST))
    assert watcher.next(seen()) == NOTHING
    assert watcher.next(seen()) == Findings((), ("a",))
    assert watcher.next(seen()) == NOTHING
    watcher.next(seen(a=FIRST))
    assert watcher.next(seen(a=FIRST)) == Findings(("a",), ())


def test_folders_are_searched_and_named_files_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("a.yaml", "in/b.yml", "in/deeper/c.yaml", "x.txt", ".#a.yaml", ".git/d.yaml"):
        path = tmp_path / "mesh" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "mesh" / "dangling.yaml").symlink_to("nowhere")
    single = tmp_path / "single"
    single.write_text("")
    found = look([tmp_path / "mesh", single, tmp_path / "none"])
    names = [str(Path(path).relative_to(tmp_path)) for path in found.files]
    assert names == ["mesh/a.yaml", "mesh/in/b.yml", "mesh/in/deeper/c.yaml", "single"]
    assert found.missing == {str(tmp_path / "none")}


def test_a_replaced_file_differs_even_with_equal_size_and_time(tmp_path: Path) -> None:
    path, other = tmp_path / "a.yaml", tmp_path / "b.tmp"
    path.write_text("one")
    other.write_text("two")
    before = look([path]).files
    stamp = path.stat()
    os.utime(other, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    other.replace(path)
    assert look([path]).files != before


def test_roots_are_absolute_and_each_there_once() -> None:
    assert absolute([Path("x"), Path("x")]) == (Path.cwd() / "x",)
