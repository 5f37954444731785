"""Start the node agent: ``python -m daemon``; settings come from the environment."""

from __future__ import annotations

import os
import sys

from daemon.app import run
from daemon.config import read_config
from ztunnel_compat.runtime.process import serve

if __name__ == "__main__":
    sys.exit(serve("daemon", os.environ, read_config, run))
