"""``python -m deploy.standalone.control``."""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import replace

from deploy.standalone.control import app
from deploy.standalone.control.address import own_address
from deploy.standalone.control.config import parse
from deploy.standalone.control.errors import CaError, ConfigError, StateError
from ztunnel_compat.runtime.log import configure

logger = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Run to the end; the exit status: 2 when it can't be started like that."""
    configure("info")
    try:
        config = parse(arguments)
        configure(config.log_level)
        if not config.xds_address:
            config = replace(config, xds_address=f"{own_address()}:{config.ads_port}")
        asyncio.run(app.run(config))
    except (ConfigError, CaError, StateError) as error:
        logger.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
