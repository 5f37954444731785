"""Start a waypoint: ``python -m waypoint``; settings come from the environment."""

from __future__ import annotations

import os
import sys

from waypoint.app import start
from waypoint.config import read_config
from ztunnel_compat.runtime.process import serve

if __name__ == "__main__":
    sys.exit(serve("waypoint", os.environ, read_config, start))
