"""Requests that go on, as a process that the stream reads."""

from __future__ import annotations

import sys
import time

import pytest

from deploy.demo.errors import StoryError
from deploy.demo.stream import STALL_SECONDS, Answer, Stream, failures

PRINTER = """
import json, sys, threading, time
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
count = 0
while count < int(sys.argv[1]) and not ended.wait(0.002):
    error = "oops" if count == 3 else None
    line = {"at": time.monotonic(), "version": None if error else "v1", "error": error}
    print(json.dumps(line), flush=True)
    count += 1
"""


def stream(limit: int, said: list[str] | None = None) -> Stream:
    waiting = said.append if said is not None else lambda text: None
    return Stream([sys.executable, "-c", PRINTER, str(limit)], waiting)


def test_takes_exactly_what_was_asked_for_and_ends_on_leaving() -> None:
    with stream(10**6) as running:
        running.take(60)
        first = running.take(50)
        now = time.monotonic()
        later = running.take(20, since=now)
    assert (len(first), len(later)) == (50, 20)
    assert all(answer.at >= now for answer in later)
    assert running.answers()[:50] == first
    assert running._process.returncode == 0


def test_failures_are_counted() -> None:
    with stream(10) as running:
        answers = running.take(10)
    assert [answer.error for answer in failures(answers)] == ["oops"]


def test_end_before_the_count_is_an_error() -> None:
    started = time.monotonic()
    with stream(5) as running, pytest.raises(StoryError) as caught:
        running.take(6)
    assert time.monotonic() - started < STALL_SECONDS / 2
    assert str(caught.value) == "only 5 of 6 requests were answered"


def test_silence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.demo.stream.STALL_SECONDS", 0.5)
    said: list[str] = []
    silent = Stream([sys.executable, "-c", "input()"], said.append)
    with silent, pytest.raises(StoryError):
        silent.take(1)
    assert said
    assert set(said) == {"0 of 1 requests answered"}


def test_failures_in_the_order_they_were_sent() -> None:
    answers = [Answer(2.0, None, "b"), Answer(1.0, None, "a"), Answer(0.0, "v1", None)]
    assert [answer.error for answer in failures(answers)] == ["a", "b"]
