"""Which watched files to read, decided from one look at them after another.

A file is read once it was the same in two looks: editors and copies write in
steps, and what is half-written may be valid YAML with half of the objects. The
same goes for a file that is gone: some editors delete and write anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SUFFIXES = (".yaml", ".yml")
#: Beyond this, further files of a folder aren't watched; it is reported.
MAX_FILES = 10_000

#: Modification time in nanoseconds, size, inode.
Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Look:
    """One look at what is watched. missing: roots that aren't there."""

    files: dict[str, Stamp] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    overflow: bool = False


@dataclass(frozen=True, slots=True)
class Findings:
    """What to do: files to read (again), files that are gone; roots that are missing."""

    read: tuple[str, ...]
    gone: tuple[str, ...]
    missing: frozenset[str] = frozenset()


def look(roots: Sequence[Path]) -> Look:
    """Look at files, and at folders with all that is in them, hidden files left out."""
    files: dict[str, Stamp] = {}
    missing = set()
    overflow = False
    for root in roots:
        if not root.exists():
            missing.add(str(root))
            continue
        for path in manifests_in(root) if root.is_dir() else [str(root)]:
            if len(files) >= MAX_FILES:
                overflow = True
                break
            stamp = stamp_of(path)
            if stamp is not None:
                files[path] = stamp
    return Look(files, frozenset(missing), overflow)


def manifests_in(folder: Path) -> Iterator[str]:
    """The YAML files of a folder and of the folders in it."""
    for inside, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for name in sorted(names):
            if name.endswith(SUFFIXES) and not name.startswith("."):
                yield str(Path(inside, name))


def stamp_of(path: str) -> Stamp | None:
    """What changes when a file does; None when it is gone or no file."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


class Watcher:
    """Compares each look with the one before."""

    def __init__(self) -> None:
        self.last = Look()
        self.acted: dict[str, Stamp] = {}

    def first(self, now: Look) -> Findings:
        """The first look is taken as it is: there is nothing yet to lose."""
        self.last = now
        self.acted = dict(now.files)
        return Findings(tuple(now.files), (), now.missing)

    def next(self, now: Look) -> Findings:
        """What a further look, some time after the last, finds settled."""
        read = [
            path
            for path, stamp in now.files.items()
            if self.last.files.get(path) == stamp and self.acted.get(path) != stamp
        ]
        gone = [
            path for path in self.acted if path not in now.files and path not in self.last.files
        ]
        missing = now.missing & self.last.missing
        self.last = now
        for path in read:
            self.acted[path] = now.files[path]
        for path in gone:
            del self.acted[path]
        return Findings(tuple(read), tuple(gone), missing)


def absolute(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Roots to watch, each once, whatever the working directory becomes."""
    return tuple(dict.fromkeys(Path(path).absolute() for path in paths))
