"""A log that nobody reads: the process goes on, and says later what is missing."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ztunnel_compat.runtime.log import LineFormatter
from ztunnel_compat.runtime.log_handler import PatientHandler

F_SETPIPE_SZ = 1031
PIPE = 4096


class Pipe:
    """A pipe of 4 KiB, and a handler that writes to it."""

    def __init__(self, most: int) -> None:
        self.reader, self.end = os.pipe()
        fcntl.fcntl(self.end, F_SETPIPE_SZ, PIPE)
        os.set_blocking(self.reader, False)
        self.handler = PatientHandler(self.end, most)
        self.handler.setFormatter(LineFormatter())

    def log(self, text: str) -> None:
        record = logging.LogRecord("scope", logging.INFO, "", 0, text, None, None)
        self.handler.handle(record)

    def read(self) -> str:
        """What there is."""
        found = b""
        while True:
            try:
                data = os.read(self.reader, 65536)
            except BlockingIOError:
                return found.decode()
            if not data:
                return found.decode()
            found += data


@contextmanager
def pipe(most: int = 64 * 1024) -> Iterator[Pipe]:
    made = Pipe(most)
    try:
        yield made
    finally:
        os.close(made.reader)
        os.close(made.end)


def numbers(text: str) -> list[int]:
    return [int(line.rpartition("\t")[2].split()[0]) for line in text.splitlines()]


def test_a_line_is_written_at_once() -> None:
    with pipe() as made:
        made.log("7 é")
        assert made.read().endswith("\tinfo\tscope\t7 é\n")
        assert made.handler.pending == b""


def test_nobody_reads_and_nothing_waits() -> None:
    with pipe() as made:
        for number in range(5000):
            made.log(f"{number} {'x' * 100}")
        handler = made.handler
        assert PIPE < len(handler.pending) <= 64 * 1024
        assert handler.dropped > 4000
        seen = ""
        while handler.pending:
            seen += made.read()
            made.handler.push()
        made.log("9999 after")
        seen += made.read()
        lines = seen.splitlines()
        missing, last = lines[-2:]
        assert f"\twarn\tztunnel_compat.runtime.log_handler\t{handler.dropped} lines" in missing
        assert last.endswith("9999 after")
        found = numbers("\n".join(lines[:-2]))
        assert found == list(range(5000 - handler.dropped))


async def test_what_waits_is_tried_again_by_the_loop() -> None:
    with pipe() as made:
        for number in range(100):
            made.log(f"{number} {'x' * 100}")
        assert made.handler.pending
        found = ""
        async with asyncio.timeout(10):
            while len(found.splitlines()) < 100:
                found += made.read()
                await asyncio.sleep(0.01)
        assert numbers(found) == list(range(100))


def test_a_reader_that_is_gone_is_survived() -> None:
    reader, end = os.pipe()
    handler = PatientHandler(end)
    os.close(reader)
    handler.handle(logging.LogRecord("s", logging.INFO, "", 0, "x", None, None))
    assert (handler.dropped, handler.pending) == (1, b"")
    os.close(end)


def test_the_end_waits_for_a_reader_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ztunnel_compat.runtime.log_handler.LAST_SECONDS", 0.05)
    with pipe() as made:
        for number in range(100):
            made.log(f"{number} {'x' * 100}")
        left = len(made.handler.pending)
        made.handler.close()
        assert len(made.handler.pending) == left
    with pipe() as made:
        made.log("1")
        made.handler.pending = b"2\n"
        made.handler.close()
        assert made.read().endswith("\n2\n")
