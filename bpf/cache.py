"""What the compiler made before: it takes seconds, and a restart shouldn't.

A file holds what one text, with one set of flags, became under one kernel and BCC.
Programs go into the kernel from here, so only what is ours alone is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import stat
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bpf.compile import compiled
from bpf.errors import CacheError
from bpf.objects import Compiled, dump, parse
from bpf.sources import HERE, Program

log = logging.getLogger(__name__)

#: Its place by the Filesystem Hierarchy Standard: it may be removed at any time.
DIRECTORY = Path("/var/cache/tandem/programs")
BCC = Path("/usr/lib/python3/dist-packages/bcc/version.py")
#: Files that are kept. One takes 0.5 MB; a node has one build, an upgrade two.
MOST = 16


@dataclass(frozen=True, slots=True)
class Cache:
    """Compiled objects in a directory; made when first needed."""

    directory: Path = DIRECTORY

    def compiled(
        self, text: str, flags: Sequence[str], programs: Iterable[Program]
    ) -> Compiled:
        """What the text becomes, from here or from the compiler. Raises LoadError."""
        programs = list(programs)
        path = self.directory / f"{fingerprint(text, flags, programs)}.json"
        try:
            self.check()
            if (found := read(path)) is not None:
                return found
        except (CacheError, OSError) as error:
            log.warning("compiled programs aren't kept: %s", error)
            return compiled(text, flags, programs)
        made = compiled(text, flags, programs)
        try:
            self.write(path, dump(made))
        except OSError as error:
            log.warning("compiled programs aren't kept: %s", error)
        return made

    def check(self) -> None:
        """Make the directory. Raises CacheError if others may write it, OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.directory.stat()
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise CacheError(
                f"{self.directory} belongs to user {found.st_uid}, mode"
                f" {stat.S_IMODE(found.st_mode):o}: others than user {os.geteuid()}"
                f" may write it; remove it"
            )

    def write(self, path: Path, content: str) -> None:
        """Keep an object, and the latest others."""
        handle, temporary = tempfile.mkstemp(dir=self.directory, suffix=".new")
        with os.fdopen(handle, "w") as file:
            file.write(content)
        Path(temporary).replace(path)
        dated = []
        for kept in self.directory.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another load's, gone meanwhile
                dated.append((kept.stat().st_mtime, kept))
        for _, oldest in sorted(dated)[:-MOST]:
            oldest.unlink(missing_ok=True)


def read(path: Path) -> Compiled | None:
    """What is kept there, and is used: None if nothing is, or nothing whole."""
    try:
        found = parse(path.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged, the programs are compiled again: %s", path, error)
        return None
    os.utime(path)
    return found


def fingerprint(text: str, flags: Sequence[str], programs: Iterable[Program]) -> str:
    """Of all that decides what the compiler makes."""
    version = BCC.read_text() if BCC.exists() else ""
    parts = [
        *(text, version, platform.release(), platform.machine()),
        *((HERE / name).read_text() for name in ("compiler.py", "objects.py")),
        *flags,
        *(program.name for program in programs),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
