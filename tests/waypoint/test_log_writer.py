from __future__ import annotations

import asyncio

import pytest

from tests.support.sink import Sink
from tests.waypoint.mesh import until
from waypoint.log_writer import FLUSH_BYTES, PENDING_MOST, LogWriter
from waypoint.stats import Stats


def writer(sink: Sink) -> LogWriter:
    return LogWriter(sink, Stats(), asyncio.get_running_loop())


async def test_lines_are_written_together() -> None:
    sink = Sink()
    log = writer(sink)
    for number in range(10):
        log.add(f"{number}\n")
    assert sink.writes == []
    await until(lambda: sink.writes)
    assert sink.writes == [b"".join(b"%d\n" % n for n in range(10))]


async def test_many_lines_don_t_wait() -> None:
    sink = Sink()
    log = writer(sink)
    for _ in range(FLUSH_BYTES // 100 + 2):
        log.add("x" * 99 + "\n")
    assert len(sink.writes) == 1
    log.flush()


async def test_a_reader_that_is_late_gets_everything_in_order() -> None:
    sink = Sink(room=5)
    log = writer(sink)
    log.add("abcdefgh\n")
    log.flush()
    log.add("second\n")
    assert log.pending == b"fgh\n"
    sink.room = 100
    await until(lambda: b"".join(sink.writes) == b"abcdefgh\nsecond\n")
    assert log.stats.access_log_dropped == 0


async def test_a_reader_that_doesn_t_come_costs_lines_not_memory() -> None:
    sink = Sink(room=0)
    log = writer(sink)
    line = "x" * 999 + "\n"
    for _ in range(3 * PENDING_MOST // len(line)):
        log.add(line)
    log.flush()
    assert len(log.pending) + log.size <= PENDING_MOST + 2 * len(line)
    assert log.stats.access_log_dropped > PENDING_MOST // len(line)
    sink.room = 1 << 30
    log.flush()
    assert log.pending == b""


async def test_a_reader_that_is_gone_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_data: bytes) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    log = LogWriter(broken, Stats(), asyncio.get_running_loop())
    log.add("a\n")
    log.flush()
    assert (log.pending, log.stats.access_log_dropped) == (b"", 1)
    assert "Broken pipe" in caplog.text
