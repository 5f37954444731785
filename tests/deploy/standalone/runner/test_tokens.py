"""Token files: written, renewed, kept while nothing better is to be had."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy.standalone.runner.errors import ControlError
from deploy.standalone.runner.tokens import Token, TokenFile, write_secret
from ztunnel_compat.runtime.tasks import Tasks

ASKED = {"node": "node1"}


class Source:
    """life: of tokens, in seconds; away: how often it fails before it answers."""

    def __init__(self, life: float = 3600, away: int = 0) -> None:
        self.life = life
        self.away = away
        self.given = 0
        self.asked = asyncio.Event()

    async def token(self, asked: Mapping[str, str]) -> Token:
        assert asked == ASKED
        self.asked.set()
        if self.away:
            self.away -= 1
            raise ControlError("the control plane is away")
        self.given += 1
        return Token(f"token {self.given}", time.time() + self.life)

    async def again(self) -> None:
        """Wait until it is asked once more."""
        self.asked.clear()
        await asyncio.wait_for(self.asked.wait(), 10)


async def test_the_first_token_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = TokenFile(Source(away=3), tmp_path / "token", ASKED)
    await asyncio.wait_for(file.first(), 10)
    assert file.path.read_text() == "token 1"
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert caplog.messages == [
        f"token {file.path} is not renewed yet: the control plane is away"
    ]


async def test_half_of_a_tokens_life_is_enough(tmp_path: Path) -> None:
    file = TokenFile(Fixed(), tmp_path / "token", ASKED, lambda: 1000.0)
    await file.first()
    assert file.renew == 1050.0


class Fixed:
    async def token(self, _asked: Mapping[str, str]) -> Token:
        return Token("t", 1100.0)


async def test_a_token_is_renewed(tmp_path: Path) -> None:
    source = Source(life=0.1)
    file = TokenFile(source, tmp_path / "token", ASKED)
    await file.first()
    async with Tasks() as tasks:
        tasks.spawn(file.keep(), "token")
        await source.again()
        await source.again()
    assert file.path.read_text() in {"token 2", "token 3"}
    assert list(tmp_path.iterdir()) == [file.path]


async def test_the_old_one_stays_while_there_is_no_other(tmp_path: Path) -> None:
    source = Source(life=0.02)
    file = TokenFile(source, tmp_path / "token", ASKED)
    await file.first()
    source.away = 3
    async with Tasks() as tasks:
        tasks.spawn(file.keep(), "token")
        await source.again()
        assert file.path.read_text() == "token 1"
        while source.given < 2:
            await source.again()


async def test_a_disk_that_takes_nothing_is_tried_again(tmp_path: Path) -> None:
    file = TokenFile(Source(), tmp_path / "gone" / "token", ASKED)
    assert not await file.attempt()
    file.path.parent.mkdir()
    assert await file.attempt()


def test_a_secret_replaces_what_a_crash_left(tmp_path: Path) -> None:
    (tmp_path / "token.new").write_text("half")
    (tmp_path / "token.new").chmod(0o644)
    write_secret(tmp_path / "token", "whole")
    assert (tmp_path / "token").read_text() == "whole"
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 1
