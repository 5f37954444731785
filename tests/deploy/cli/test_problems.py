"""Warnings of a log, as they appear."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deploy.cli import problems as module
from deploy.cli.problems import LogTail, problems, relay_problems

WARNING = "2026-01-01T00:00:00.0Z\twarn\tcontrol\tb.yaml:3: no\tsuch kind\n"
INFO = "2026-01-01T00:00:00.0Z\tinfo\tcontrol\tstarted\n"


def test_only_warnings_and_errors_are_problems() -> None:
    lines = [WARNING.rstrip("\n"), INFO.rstrip("\n"), "Traceback", "a\terror\tb\tc"]
    assert list(problems(lines)) == ["b.yaml:3: no\tsuch kind", "c"]


def test_tail_gives_whole_lines_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tail = LogTail(log)
    assert tail.read() == []
    log.write_text("one\ntw")
    assert tail.read() == ["one"]
    with log.open("a") as file:
        file.write("o\n")
    assert (tail.read(), tail.read()) == (["two"], [])


def test_tail_follows_a_file_that_begins_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a long first line\nand a ")
    tail = LogTail(log)
    tail.read()
    log.write_text("new\n")
    assert tail.read() == ["new"]


def test_tail_holds_no_more_than_a_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 4)
    log = tmp_path / "log"
    log.write_text("abcdefghij\n")
    tail = LogTail(log)
    assert [tail.read() for _ in range(3)] == [[], [], ["efghij"]]


async def test_relay_says_what_appears(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(INFO + WARNING)
    said: asyncio.Queue[str] = asyncio.Queue()
    async with asyncio.timeout(10):
        async with asyncio.TaskGroup() as group:
            relay = group.create_task(relay_problems(log, said.put_nowait))
            assert await said.get() == "b.yaml:3: no\tsuch kind"
            with log.open("a") as file:
                file.write(WARNING.replace("no\t", "another "))
            assert await said.get() == "b.yaml:3: another such kind"
            relay.cancel()
