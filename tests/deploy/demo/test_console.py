"""What the demo shows."""

from __future__ import annotations

import io
import os
import re

import pytest

from deploy.demo import console
from deploy.demo.console import Console


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_plain_text_where_nobody_looks() -> None:
    out = io.StringIO()
    shown = Console.of(out, {})
    with shown.step("First"):
        shown.say("a line")
    assert re.fullmatch(r"\n1  First\n   a line\n   ok \(\d+\.\d s\)\n", out.getvalue())


def test_colour_on_a_terminal_only() -> None:
    for environment, coloured in (
        ({}, True),
        ({"TERM": "dumb"}, False),
        ({"NO_COLOR": "1"}, False),
    ):
        out = Terminal()
        Console.of(out, environment).fail("x")
        assert ("\x1b[31m" in out.getvalue()) is coloured


def test_step_that_fails_is_not_ok() -> None:
    out = io.StringIO()
    with pytest.raises(ValueError), Console(out).step("First"):
        raise ValueError
    assert "ok" not in out.getvalue()


def test_waiting_is_said_only_when_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("deploy.demo.console.time.monotonic", lambda: now)
    out = io.StringIO()
    shown = Console(out)
    shown.waiting("pods")
    assert out.getvalue() == ""
    now += console.PATIENCE
    shown.waiting("pods")
    shown.waiting("pods")
    assert out.getvalue() == "   waiting: pods\n"
    now += console.PATIENCE
    shown.waiting("pods")
    assert out.getvalue().count("\n") == 1
    shown.waiting("a waypoint")
    now += console.AGAIN
    shown.waiting("a waypoint")
    assert out.getvalue().splitlines()[1:] == ["   waiting: a waypoint"] * 2


def test_reader_that_leaves_does_not_stop_the_demo() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        shown = Console(out)
        shown.say("x")
        shown.say("y")
        assert shown.title == ""
        with shown.step("Last"):
            pass
        assert shown.title == "1: Last"
