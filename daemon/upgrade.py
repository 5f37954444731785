"""From what an earlier process left in the kernel to this build's programs and maps.

The same build adopts what is there. Another one with the same maps replaces the
programs at once. Where maps have another layout or size, the new ones are staged:
this process writes them from ZDS and xDS while the old programs serve with the old
maps, however long that takes, and then takes over.
"""

from __future__ import annotations

import asyncio
import logging
import time

from bpf.errors import BpfError
from bpf.links import Targets
from bpf.loader import Stage, stage
from bpf.maps import Maps
from bpf.probe import missing_features
from daemon.config import Config
from daemon.errors import KernelProgramsError, UnsupportedError
from daemon.program import dump
from daemon.programmed import Programmed
from ztunnel_compat.runtime.errors import ConfigError

logger = logging.getLogger(__name__)


def take_kernel(config: Config) -> tuple[Stage, Maps, Programmed]:
    """Load, stage or adopt the programs and read their maps; blocks for up to seconds."""
    missing = missing_features(config.cgroup_root)
    if missing:
        lacks = "; ".join(map(str, missing))
        raise UnsupportedError(f"with pods below {config.cgroup_root} this node lacks: {lacks}")
    if not config.cgroup_root.is_dir():
        raise ConfigError(f"CGROUP_ROOT={str(config.cgroup_root)!r} is no directory")
    try:
        staged = stage(
            config.pin_dir, Targets(config.cgroup_root, config.probe_cgroup), config.sizes
        )
        maps = Maps.open(staged.view)
    except BpfError as error:
        raise KernelProgramsError(f"programs below {config.pin_dir}: {error}") from error
    started = time.monotonic()
    programmed = dump(maps)
    logger.info(
        "kernel programs %s in %.2f s, %d addresses and %d pods read in %.2f s",
        "staged" if staged.waiting else staged.action.value,
        staged.seconds,
        len(programmed.addresses),
        len(programmed.pods),
        time.monotonic() - started,
    )
    return staged, maps, programmed


async def take_over(staged: Stage, pods_told: asyncio.Event) -> None:
    """Put in force what was staged, once every pod is known too; nothing if all is.

    Called when the maps hold a complete push. Raises KernelProgramsError.
    """
    if not staged.waiting:
        return
    await pods_told.wait()
    try:
        await asyncio.to_thread(staged.copy)
        # A few milliseconds, in the event loop: no pod comes or goes meanwhile.
        staged.commit()
    except BpfError as error:
        raise KernelProgramsError(f"programs below {staged.pin_dir}: {error}") from error
    logger.info("the kernel programs and maps that were staged are in force")
