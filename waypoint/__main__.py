"""Start a waypoint: ``python -m waypoint``; settings come from the environment."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import uvloop

from waypoint.app import run
from waypoint.config import read_config
from waypoint.errors import ConfigError, WaypointError
from ztunnel_compat.runtime import log

logger = logging.getLogger("waypoint")


def main() -> int:
    """Run until stopped; the exit status."""
    try:
        config = read_config(os.environ)
    except ConfigError as error:
        log.configure("info")
        logger.error("bad settings: %s", error)
        return 2
    log.configure(config.log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(config))
    except WaypointError as error:
        logger.error("waypoint %s can't serve: %s", config.pod_name, error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
