from __future__ import annotations

import asyncio
import logging
import re

import pytest

from bpf.layout import Event, EventClass, EventKind, Verdict
from bpf.limits import MemoryLimits
from bpf.ringbuf import MemoryRing
from daemon.telemetry import log_task
from daemon.telemetry.access_log import Lines
from daemon.telemetry.log_task import KINDS, SLICE, LogTask
from tests.daemon.telemetry.scene import CLIENT, event, names_of, scene
from ztunnel_compat.runtime.tasks import Tasks

WALL = 1_700_000_000.0


class Log:
    """A log task, with its ring and what it wrote."""

    def __init__(self, rate: int = 1000, seconds: float = 10.0) -> None:
        self.ready = asyncio.Event()
        self.ready.set()
        self.ring = MemoryRing()
        self.limits = MemoryLimits()
        self.written: list[str] = []
        self.seconds = seconds
        self.task = LogTask(
            self.ring,
            self.limits,
            Lines(names_of(scene()), {CLIENT}, lambda _chunk, _rule: "app/deny"),
            rate,
            ready=self.ready,
            write=self.written.append,
            clock=lambda: int(self.seconds * 1e9),
            wall=lambda: WALL + self.seconds,
        )

    def put(self, made: Event, times: int = 1) -> None:
        self.ring.records += [made.pack()] * times

    @property
    def lines(self) -> list[str]:
        return "".join(self.written).splitlines()


def test_a_line_begins_with_when_the_connection_ended() -> None:
    log = Log()
    log.put(event(ended=2_500_900_000))
    log.task.turn()
    [line] = log.lines
    stamp, level, scope, message, fields = line.split("\t")
    assert stamp == "2023-11-14T22:13:22.500900Z"
    assert (level, scope, message) == ("info", "access", "connection complete")
    assert re.fullmatch(r'(\S+=("[^"]*"|\S+) ?)+', fields)


def test_lines_are_written_together() -> None:
    log = Log()
    log.put(event(), 3)
    assert log.task.turn() == 3
    assert len(log.written) == 1
    assert len(log.lines) == 3
    assert log.task.turn() == 0
    assert len(log.written) == 1


def test_a_turn_is_a_slice() -> None:
    log = Log()
    log.put(event(), SLICE + 1)
    assert log.task.turn() == SLICE
    assert log.task.turn() == 1


def test_a_flood_of_connections_leaves_room_for_denials() -> None:
    log = Log(rate=10)
    log.put(event(), 100)
    log.put(event(kind=EventKind.DENIED, reason=Verdict.DENIED))
    log.put(event(kind=EventKind.FAILED))
    log.task.turn()
    assert len(log.lines) == 12
    assert any("app/deny" in line for line in log.lines)
    assert log.task.suppressed() == {"closed": 90, "failed": 0, "denied": 0}


def test_no_line_is_made_that_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice of a flood costs its readers as many lines as are written, and one."""
    log, made = Log(rate=10), []
    read = log.task.lines.read
    monkeypatch.setattr(log.task.lines, "read", lambda r: made.append(r) or read(r))
    log.put(event(), SLICE)
    log.task.turn()
    assert len(log.lines) == 10
    assert len(made) == 11
    assert log.task.suppressed()["closed"] == SLICE - 10


def test_what_the_kernel_suppressed_counts_too() -> None:
    log = Log()
    log.limits.counts[EventClass.CLOSED] = 7
    assert log.task.suppressed()["closed"] == 7


def test_missing_lines_are_said_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    log = Log(rate=1)
    caplog.set_level(logging.WARNING)
    log.put(event(), 3)
    log.task.turn()
    log.put(event(), 3)
    log.seconds += 0.5
    log.task.turn()
    assert [r.getMessage() for r in caplog.records] == [
        "access log: 2 lines suppressed; ACCESS_LOG_RATE is 1 a second"
    ]
    log.seconds += 0.6
    log.task.turn()
    assert "3 lines suppressed" in caplog.records[1].getMessage()
    log.seconds += 5
    log.task.turn()
    assert len(caplog.records) == 2


def test_control_characters_are_escaped() -> None:
    log = Log()
    log.task.lines.policy = lambda _chunk, _rule: "a\x1bb"
    log.put(event(kind=EventKind.DENIED, reason=Verdict.DENIED))
    log.task.turn()
    assert "a\\u001bb" in log.written[0]


@pytest.mark.parametrize(("rate", "most"), [(0, 0), (1, 1), (1000, 135)])
async def test_the_kernel_is_told_how_much_is_wanted(rate: int, most: int) -> None:
    log = Log(rate)
    log.put(event())
    async with Tasks() as tasks:
        tasks.spawn(log.task.run(), "access log")
        async with asyncio.timeout(10):
            while log.ring.records:
                await asyncio.sleep(0)
    assert log.limits.allowed == dict.fromkeys(KINDS, most)
    assert len(log.lines) == min(rate, 1)


async def test_lines_wait_for_names() -> None:
    log = Log()
    log.ready.clear()
    log.put(event())
    async with Tasks() as tasks, asyncio.timeout(10):
        tasks.spawn(log.task.run(), "access log")
        while not log.limits.allowed:
            await asyncio.sleep(0)
        assert log.lines == []
        log.ready.set()
        while not log.lines:
            await asyncio.sleep(0)


async def test_lines_wait_no_longer_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_task, "PATIENCE", 0.01)
    log = Log()
    log.ready.clear()
    log.put(event())
    async with Tasks() as tasks, asyncio.timeout(10):
        tasks.spawn(log.task.run(), "access log")
        while not log.lines:
            await asyncio.sleep(0)


def test_lines_of_others_come_with_the_next_turn_within_their_budget() -> None:
    log = Log(rate=2)
    for number in range(5):
        log.task.add(EventClass.CLOSED, "info", f"connection complete\ttunnel={number}")
    log.task.add(EventClass.DENIED, "error", "denied")
    assert not log.written
    log.task.turn()
    assert [line.split("\t", 1)[1] for line in log.lines] == [
        "info\taccess\tconnection complete\ttunnel=0",
        "info\taccess\tconnection complete\ttunnel=1",
        "error\taccess\tdenied",
    ]
    assert log.task.suppressed()["closed"] == 3
    log.task.turn()
    assert len(log.lines) == 3


async def test_lines_of_others_without_the_ring() -> None:
    log = Log()
    log.put(event())
    async with Tasks() as tasks:
        tasks.spawn(log.task.run_added(), "lines")
        log.task.add(EventClass.CLOSED, "info", "one")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    log.task.add(EventClass.CLOSED, "info", "two")
    log.task.write_added()
    assert [line.split("\t")[-1] for line in log.lines] == ["one", "two"]
    assert log.ring.records
