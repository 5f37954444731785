"""What is mounted where, from /proc/self/mountinfo."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount point and the kind of its file system."""

    point: Path
    kind: str


def parse(text: str) -> list[Mount]:
    """The mounts of a mountinfo file, in order; see proc(5)."""
    found = []
    for line in text.splitlines():
        fields, _separator, source = line.partition(" - ")
        point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), fields.split(" ")[4])
        found.append(Mount(Path(point), source.split(" ")[0]))
    return found


def current() -> list[Mount]:
    """The mounts of this process."""
    return parse(MOUNTINFO.read_text())


def kind_at(path: Path, mounts: Iterable[Mount]) -> str:
    """The kind of the file system that an absolute path is in."""
    best = Mount(Path("/"), "")
    for mount in mounts:
        inside = mount.point == path or mount.point in path.parents
        if inside and len(mount.point.parts) >= len(best.point.parts):
            best = mount
    return best.kind
