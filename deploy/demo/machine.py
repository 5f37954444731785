"""Whether this machine can run the demo's mesh, now."""

from __future__ import annotations

import platform
from pathlib import Path

from deploy.demo.errors import StoryError
from deploy.standalone.config import MeshConfig
from deploy.standalone.runner import cgroups, preflight
from deploy.standalone.runner.errors import PreflightError
from deploy.standalone.runner.lock import runner_pid


def describe(config: MeshConfig, files: Path) -> str:
    """Return what was found, in one line; raises StoryError with all that is missing."""
    if (pid := runner_pid(config)) is not None:
        raise StoryError(
            f"a mesh named {config.name} runs already (process {pid}):"
            f" `tandem down --name {config.name}` ends it"
        )
    try:
        preflight.require(config, [files])
        mount = cgroups.mounted()
    except PreflightError as error:
        raise StoryError(str(error)) from error
    return (
        f"Linux {platform.release()} has every feature that is needed; cgroup v2 is at {mount}"
    )
