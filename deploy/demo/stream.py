"""Requests that go on from a pod while the story does something to the mesh."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from deploy.demo.errors import StoryError

# How long to wait for the next answers before the mesh counts as stuck.
STALL_SECONDS = 20.0
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Answer:
    """What became of one request.

    at: when it was sent, seconds of CLOCK_MONOTONIC (one clock for all processes);
    version: of reviews, None if the request failed; error: what went wrong then.
    """

    at: float
    version: str | None
    error: str | None

    @classmethod
    def parse(cls, line: str) -> Answer:
        """Read a line of `traffic.py`."""
        content = json.loads(line)
        return cls(content["at"], content["version"], content["error"])


def failures(answers: Sequence[Answer]) -> list[Answer]:
    """The answers that were none, earliest first."""
    return sorted((a for a in answers if a.error is not None), key=lambda a: a.at)


class Stream:
    """A running `traffic.py`, from entering the context until leaving it.

    It ends by itself at the limit of requests it was given, which bounds what is held.
    """

    def __init__(self, argv: Sequence[str], waiting: Callable[[str], None]) -> None:
        self._argv = list(argv)
        self._waiting = waiting
        self._answers: list[Answer] = []
        self._ended = False
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C at the terminal is for the demo alone, which then ends this.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="stream", daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STALL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def answers(self, since: float = 0.0) -> list[Answer]:
        """All answers so far to requests sent at `since` or later."""
        with self._changed:
            return [answer for answer in self._answers if answer.at >= since]

    def take(self, count: int, since: float = 0.0) -> list[Answer]:
        """Wait for `count` answers to requests sent at `since` or later; exactly those.

        Raises StoryError when requests stop being answered.
        """
        patience = time.monotonic() + STALL_SECONDS
        seen = -1
        while True:
            found = self.answers(since)
            if len(found) >= count:
                return found[:count]
            if len(found) > seen:
                seen, patience = len(found), time.monotonic() + STALL_SECONDS
            if self._ended or time.monotonic() > patience:
                raise StoryError(f"only {len(found)} of {count} requests were answered")
            self._waiting(f"{len(found)} of {count} requests answered")
            with self._changed:
                self._changed.wait(POLL_SECONDS)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = Answer.parse(line)
            with self._changed:
                self._answers.append(answer)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
