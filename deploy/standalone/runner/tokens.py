"""Token files: asked of the control API, renewed at half of their life."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deploy.standalone.runner.errors import ControlError
from ztunnel_compat.runtime.backoff import Backoff

logger = logging.getLogger(__name__)

RETRY_FROM, RETRY_TO = 0.05, 15.0
#: Seconds between two looks at the clock: a machine that slept notices soon.
TICK = 30.0


@dataclass(frozen=True, slots=True)
class Token:
    """A token; expires: Unix seconds."""

    text: str
    expires: float


class TokenSource(Protocol):
    """Where tokens come from."""

    async def token(self, asked: Mapping[str, str]) -> Token:
        """A new token; raises ControlError."""


class TokenFile:
    """A file with a token that holds. asked: whose, as the control API takes it.

    clock: Unix seconds. Owned by one task, which calls ``first`` and then ``keep``.
    """

    def __init__(
        self,
        source: TokenSource,
        path: Path,
        asked: Mapping[str, str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.source = source
        self.path = path
        self.asked = asked
        self.clock = clock
        self.backoff = Backoff(RETRY_FROM, RETRY_TO)
        self.trouble = ""
        self.renew = 0.0

    async def first(self) -> None:
        """Write the first token; again, until there is one."""
        while True:
            if await self.attempt():
                return
            await asyncio.sleep(self.backoff.next())

    async def keep(self) -> None:
        """Renew the token at half of its life, for ever."""
        while True:
            left = self.renew - self.clock()
            if left > 0:
                await asyncio.sleep(min(left, TICK))
            elif not await self.attempt():
                await asyncio.sleep(self.backoff.next())

    async def attempt(self) -> bool:
        """Get a token and write it; False when that failed: the one before stays."""
        asked_at = self.clock()
        try:
            token = await self.source.token(self.asked)
            write_secret(self.path, token.text)
        except (ControlError, OSError) as error:
            if str(error) != self.trouble:  # not a line for each attempt
                self.trouble = str(error)
                logger.warning("token %s is not renewed yet: %s", self.path, error)
            return False
        self.renew = asked_at + (token.expires - asked_at) / 2
        self.backoff.reset()
        self.trouble = ""
        return True


def write_secret(path: Path, text: str) -> None:
    """Replace a file that only its owner may read: readers see the old or the new."""
    scratch = path.with_name(f"{path.name}.new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    scratch.replace(path)
