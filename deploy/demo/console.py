"""What the demo shows: numbered steps, a line for each thing seen, colour on a terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

# A wait that lasts this many seconds is worth a line, and for the same thing another one
# each time that the second number of them passes.
PATIENCE = 2.0
AGAIN = 10.0

BOLD, DIM, GREEN, RED = "1", "2", "32", "31"


class Console:
    """Writes lines to a stream; plain text unless `colour`, ASCII unless `unicode`.

    title: of the step that was begun last, with its number.
    """

    def __init__(self, out: TextIO, *, colour: bool = False, unicode: bool = False) -> None:
        self._out = out
        self._colour = colour
        self.unicode = unicode
        self._step = 0
        self.title = ""
        self._last = time.monotonic()
        self._awaited = ""

    @classmethod
    def of(cls, out: TextIO, environment: Mapping[str, str] = os.environ) -> Console:
        """Return a console that suits the stream: see no-color.org for NO_COLOR."""
        terminal = out.isatty() and environment.get("TERM") != "dumb"
        encoding = (out.encoding or "").lower().replace("-", "")
        return cls(
            out,
            colour=terminal and not environment.get("NO_COLOR"),
            unicode=encoding == "utf8",
        )

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Head a step, and end it with the time it took unless it raises."""
        self._step += 1
        self.title = f"{self._step}: {title}"
        started = time.monotonic()
        self._write(f"\n{self._paint(BOLD, f'{self._step}  {title}')}")
        yield
        took = self._paint(DIM, f"({time.monotonic() - started:.1f} s)")
        self._write(f"   {self._paint(GREEN, 'ok')} {took}")

    def say(self, text: str) -> None:
        """Write one line of the running step."""
        self._write(f"   {text}")

    def dim(self, text: str) -> None:
        """Write one line that matters less."""
        self._write(f"   {self._paint(DIM, text)}")

    def waiting(self, text: str) -> None:
        """Say what is being waited for, if nothing has been written for a while."""
        patience = AGAIN if text == self._awaited else PATIENCE
        if time.monotonic() - self._last >= patience:
            self._awaited = text
            self.dim(f"waiting: {text}")

    def fail(self, text: str) -> None:
        """Write what went wrong."""
        self._write(f"   {self._paint(RED, text)}")

    def plain(self, text: str) -> None:
        """Write a line that belongs to no step."""
        self._write(text)

    def _write(self, text: str) -> None:
        self._last = time.monotonic()
        try:
            print(text, file=self._out, flush=True)
        except BrokenPipeError:
            # Nobody reads us any more; the mesh must be taken down all the same.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._out.fileno())
            os.close(nowhere)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text
