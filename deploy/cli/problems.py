"""What the control plane complains of, shown to who runs the mesh."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

POLL_SECONDS = 0.25
CHUNK = 64 * 1024
SHOWN_LEVELS = frozenset({"warn", "error"})


class LogTail:
    """What a log file has got since it was asked last; at most `CHUNK` bytes at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""

    def read(self) -> list[str]:
        """Return the whole lines that are new; none while there is no file."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._offset:
                    self._offset, self._rest = 0, b""  # begun anew
                file.seek(self._offset)
                new = file.read(CHUNK)
        except FileNotFoundError:
            return []
        self._offset += len(new)
        *lines, rest = (self._rest + new).split(b"\n")
        self._rest = rest[-CHUNK:]
        return [line.decode("utf-8", "replace") for line in lines]


def problems(lines: list[str]) -> Iterator[str]:
    """The messages of those lines (time, level, scope, message) that warn."""
    for line in lines:
        fields = line.split("\t", 3)
        if len(fields) == 4 and fields[1] in SHOWN_LEVELS:
            yield fields[3]


async def relay_problems(log: Path, say: Callable[[str], None]) -> None:
    """Say every warning and error that appears in a log, for ever."""
    tail = LogTail(log)
    while True:
        for problem in problems(await asyncio.to_thread(tail.read)):
            say(problem)
        await asyncio.sleep(POLL_SECONDS)
