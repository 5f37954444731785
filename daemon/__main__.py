"""Start the node agent: ``python -m daemon``; settings come from the environment."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import uvloop

from bpf.errors import BpfError
from daemon.app import run
from daemon.config import read_config
from daemon.errors import ConfigError, DaemonError
from ztunnel_compat.runtime import log

logger = logging.getLogger("daemon")


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
    except (DaemonError, BpfError) as error:
        logger.error("node %s can't be served: %s", config.node_name, error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
