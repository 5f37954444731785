"""What filters print: so many lines of each call, the rest only counted."""

from __future__ import annotations

import io
from typing import Any

#: Lines of a call, and characters of a line.
MOST_LINES = 8
LONGEST = 400


class Output(io.TextIOBase):
    """Stands in for sys.stdout and sys.stderr."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.begun = ""
        self.dropped = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Take text; whole lines count."""
        pieces = text.split("\n")
        # What is beyond the bounds isn't even put together.
        for piece in pieces[:-1]:
            self.extend(piece)
            self.end_line()
        self.extend(pieces[-1])
        return len(text)

    def extend(self, piece: str) -> None:
        """Go on with the line that has begun."""
        if len(self.begun) < LONGEST:
            self.begun += piece[: LONGEST - len(self.begun)]

    def end_line(self) -> None:
        """The line is whole."""
        if not self.begun.strip():
            self.begun = ""
        elif len(self.lines) < MOST_LINES:
            self.lines.append(self.begun)
        else:
            self.dropped += 1
        self.begun = ""

    def take(self) -> dict[str, Any]:
        """What was printed since, for a frame; {} where nothing was."""
        if self.begun:
            self.end_line()
        if not self.lines:
            return {}
        said: dict[str, Any] = {"out": self.lines}
        if self.dropped:
            said["dropped"] = self.dropped
        self.lines, self.dropped = [], 0
        return said
