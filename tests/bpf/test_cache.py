"""What is kept of compiled programs, and when it isn't used."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from bpf import cache as caching
from bpf.cache import MOST, Cache, fingerprint
from bpf.objects import Compiled, MapSpec
from bpf.sources import PROGRAMS, Program

MADE = Compiled(
    {"connect4": bytes(range(16))}, (MapSpec("pods", 1, 8, 40, 64, 1, 3, 4),), b"btf"
)
FLAGS = ("-DMAX_PODS=64",)


class Compiler:
    """Counts what it is asked for."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(
        self, text: str, flags: Sequence[str], programs: Iterable[Program]
    ) -> Compiled:
        self.runs += 1
        return MADE


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    made = Compiler()
    monkeypatch.setattr(caching, "compiled", made)
    return made


@pytest.fixture
def kept(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "programs")


def test_the_second_time_nothing_is_compiled(compiler: Compiler, kept: Cache) -> None:
    for _ in range(3):
        assert kept.compiled("text", FLAGS, PROGRAMS) == MADE
    assert compiler.runs == 1
    assert stat.S_IMODE(kept.directory.stat().st_mode) == 0o700
    (file,) = kept.directory.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_whatever_decides_what_is_made_is_asked_for_anew(
    compiler: Compiler, kept: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for text, flags, programs in (
        ("text", FLAGS, PROGRAMS),
        ("other", FLAGS, PROGRAMS),
        ("text", ("-DMAX_PODS=65",), PROGRAMS),
        ("text", FLAGS, PROGRAMS[:3]),
    ):
        kept.compiled(text, flags, programs)
    (tmp_path / "version.py").write_text("another BCC")
    monkeypatch.setattr(caching, "BCC", tmp_path / "version.py")
    kept.compiled("text", FLAGS, PROGRAMS)
    monkeypatch.setattr("platform.release", lambda: "another kernel")
    kept.compiled("text", FLAGS, PROGRAMS)
    assert compiler.runs == 6


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"programs": {}}', "\0"])
def test_what_is_damaged_is_made_again(
    compiler: Compiler, kept: Cache, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept.compiled("text", FLAGS, PROGRAMS)
    (file,) = kept.directory.iterdir()
    file.write_text(damage)
    assert kept.compiled("text", FLAGS, PROGRAMS) == MADE
    assert f"{file} is damaged" in caplog.text
    assert kept.compiled("text", FLAGS, PROGRAMS) == MADE
    assert compiler.runs == 2


@pytest.mark.parametrize("fault", ["mode", "owner", "file"])
def test_nothing_that_others_may_write_is_used(
    compiler: Compiler, kept: Cache, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept.compiled("text", FLAGS, PROGRAMS)
    if fault == "mode":
        kept.directory.chmod(0o770)
    elif fault == "owner":
        os.chown(kept.directory, 65534, 65534)
    else:
        kept = Cache(next(kept.directory.iterdir()))
    assert kept.compiled("text", FLAGS, PROGRAMS) == MADE
    assert compiler.runs == 2
    assert str(kept.directory) in caplog.text


def test_only_the_latest_are_kept(compiler: Compiler, kept: Cache) -> None:
    for number in range(MOST):
        kept.compiled(str(number), FLAGS, PROGRAMS)
        path = kept.directory / f"{fingerprint(str(number), FLAGS, PROGRAMS)}.json"
        os.utime(path, (number, number))
    kept.compiled("0", FLAGS, PROGRAMS)  # used, so it stays
    kept.compiled("new", FLAGS, PROGRAMS)
    assert len(list(kept.directory.iterdir())) == MOST
    runs = compiler.runs
    kept.compiled("0", FLAGS, PROGRAMS)
    assert compiler.runs == runs
    kept.compiled("1", FLAGS, PROGRAMS)
    assert compiler.runs == runs + 1
