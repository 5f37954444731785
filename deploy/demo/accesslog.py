"""A node's access log, as a user would search it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

FIELD = re.compile(r'([a-z_.]+)=("(?:[^"\\]|\\.)*"|\S+)')
MARK = "\taccess\t"


def fields_of(line: str) -> dict[str, str]:
    """The fields of a line; none if it isn't one of the access log's."""
    _, mark, rest = line.partition(MARK)
    if not mark:
        return {}
    return {name: value.strip('"') for name, value in FIELD.findall(rest)}


def entries(log: Path, start: int) -> Iterator[dict[str, str]]:
    """What a log has got since its `start`-th byte."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            content = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return
    for line in content.splitlines():
        if found := fields_of(line):
            yield found


def size(log: Path) -> int:
    """How many bytes a log has now."""
    return log.stat().st_size if log.exists() else 0


def find(log: Path, start: int, wanted: Mapping[str, str]) -> dict[str, str] | None:
    """The last entry since `start` that has all of these fields; None if there is none."""
    matching = [
        entry
        for entry in entries(log, start)
        if all(entry.get(name) == value for name, value in wanted.items())
    ]
    return matching[-1] if matching else None
