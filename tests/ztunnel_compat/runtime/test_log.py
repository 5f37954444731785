from __future__ import annotations

import io
import logging
import re

import pytest

from ztunnel_compat.runtime.log import configure, dropped, patient

LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)\t(\w+)\t([^\t]+)\t(.*)")


@pytest.fixture(autouse=True)
def root_as_it_was():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(level, *records):
    """What is written when records (level, message, …) are logged."""
    stream = io.StringIO()
    configure(level, stream)
    for number, *message in records:
        logging.getLogger("some.scope").log(number, *message)
    return stream.getvalue().splitlines()


def test_a_line_is_ztunnels():
    (line,) = lines("info", (logging.INFO, "up: %d", 3))
    match = LINE.fullmatch(line)
    assert match
    assert match.groups()[1:] == ("info", "some.scope", "up: 3")


def test_the_epoch_has_its_microseconds(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 0.0)
    monkeypatch.setattr("time.time_ns", lambda: 0)
    (line,) = lines("info", (logging.INFO, "x"))
    assert line.startswith("1970-01-01T00:00:00.000000Z\t")


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", ["debug", "info", "warn", "error", "error"]),
        ("info", ["info", "warn", "error", "error"]),
        ("warn", ["warn", "error", "error"]),
        ("error", ["error", "error"]),
    ],
)
def test_levels(level, seen):
    numbers = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
    written = lines(level, *((number, "x") for number in numbers))
    assert [LINE.fullmatch(line).group(2) for line in written] == seen


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="'loud': expected one of debug, info, warn, error"):
        configure("loud")


def test_a_message_stays_on_its_line_and_keeps_its_tabs():
    (line,) = lines("info", (logging.INFO, "a\tb\n2026\r\x1b[31m\x00é\x85"))
    assert line.endswith("\ta\tb\\n2026\\r\\x1b[31m\\x00é\\x85")


def test_a_traceback_follows():
    stream = io.StringIO()
    configure("info", stream)
    try:
        raise KeyError("lost")
    except KeyError:
        logging.getLogger("x").exception("failed")
    first, *rest = stream.getvalue().splitlines()
    assert LINE.fullmatch(first).group(4) == "failed"
    assert rest[-1] == "KeyError: 'lost'"


def test_configuring_again_replaces():
    first, second = io.StringIO(), io.StringIO()
    configure("info", first)
    configure("info", second)
    logging.getLogger("x").info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_standard_error_is_never_waited_for(monkeypatch, tmp_path):
    with (tmp_path / "log").open("w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        logging.getLogger().handlers[:] = []
        configure("info")
        handler = patient()
        assert handler is not None
        logging.getLogger("x").info("once")
        configure("error")
        assert logging.getLogger().handlers == [handler]
        logging.getLogger("x").info("not at all")
        assert dropped() == 0
        handler.dropped = 3
        assert dropped() == 3
    assert (tmp_path / "log").read_text().endswith("\tx\tonce\n")


def test_a_stream_drops_nothing():
    configure("info", io.StringIO())
    assert dropped() == 0
    assert patient() is None
