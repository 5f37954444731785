"""Keeps logs from filling the machine."""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

MAX_SIZE = 10 << 20
PERIOD = 1.0


def rotate(log: Path, limit: int = MAX_SIZE) -> bool:
    """Copy a log that is too large to <name>.1 and empty it; whether it was.

    Copy and truncate, because the writers are programs that don't reopen their
    output; they write at the end wherever that is (O_APPEND). A line written
    between the two is lost.
    """
    try:
        if log.stat().st_size <= limit:
            return False
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        with log.open("r+b") as stream:
            stream.truncate(0)
    except FileNotFoundError:  # its pod is gone
        return False
    return True


def rotate_all(state_dir: Path, limit: int = MAX_SIZE) -> int:
    """Rotate the logs of all pods and processes; how many were."""
    logs = [*state_dir.glob("pods/*/*/log"), *state_dir.glob("logs/*.log")]
    return sum(rotate(log, limit) for log in logs)


async def keep_small(state_dir: Path) -> None:
    """Rotate for ever."""
    while True:
        await asyncio.sleep(PERIOD)
        try:
            await asyncio.to_thread(rotate_all, state_dir)
        except OSError as error:
            logger.error("logs in %s are not rotated: %s", state_dir, error)
