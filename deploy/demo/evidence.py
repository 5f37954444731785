"""What is worth keeping of a mesh that did not do as the story says."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from deploy.standalone.config import MeshConfig


def keep_logs(config: MeshConfig) -> Path | None:
    """Copy the logs of processes and pods to a new directory; None if there are none."""
    logs = [*config.state_dir.glob("logs/*"), *config.state_dir.glob("pods/*/*/log")]
    if not logs:
        return None
    kept = Path(tempfile.mkdtemp(prefix=f"tandem-{config.name}-logs-"))
    for log in logs:
        target = kept / log.relative_to(config.state_dir)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log, target)
    return kept
