"""From the command line to the event loop, the same for every process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import uvloop

from ztunnel_compat.runtime import log
from ztunnel_compat.runtime.errors import ConfigError, ProcessError

C = TypeVar("C")
BAD_SETTINGS = 2
FAILED = 1


def serve(
    name: str,
    environment: Mapping[str, str],
    read_config: Callable[[Mapping[str, str]], C],
    run: Callable[[C], Coroutine[Any, Any, None]],
) -> int:
    """Read settings and run until stopped; the exit status.

    0: stopped as asked; 1: it can't serve; 2: bad settings. The log, on standard
    error, says why.
    """
    log.configure("info")
    logger = logging.getLogger(name)
    try:
        config = read_config(environment)
    except ConfigError as error:
        logger.error("bad settings: %s", error)
        return BAD_SETTINGS
    log.configure(environment.get("LOG_LEVEL", "").lower() or "info")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(config))
    except ProcessError as error:
        logger.error("can't serve: %s", error)
        return FAILED
    return 0
