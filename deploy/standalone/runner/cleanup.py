"""Removes everything that a mesh made, whoever ended its runner and how."""

from __future__ import annotations

import asyncio
import shutil

from bpf import bpffs
from bpf.loader import unload
from deploy.standalone.config import RUN_DIR, MeshConfig
from deploy.standalone.runner import cgroups, netns, network, preflight
from deploy.standalone.runner.lock import MeshLock


async def sweep(config: MeshConfig) -> list[str]:
    """Remove what there is of a mesh; what was found, in words. Its lock must be held.

    Processes first, found by their cgroup: they hold everything else open. The
    state folder last: it says what else there is.
    """
    found: list[str] = []
    mount = cgroups.mounted()
    cgroup = config.cgroup(mount)
    pids = cgroups.processes(cgroup)
    if pids:
        found.append(f"{len(pids)} process(es)")
    await cgroups.kill(cgroup)
    names = [n for n in netns.recorded(config.netns_record) if delete_netns(config, n)]
    if names:
        found.append(f"{len(names)} network namespace(s)")
    if await asyncio.to_thread(network.remove_host_link, config):
        found.append(f"interface {config.host_interface}")
    if config.pins.is_dir():
        for node in sorted(config.pins.iterdir()):
            unload(node)
        bpffs.remove(config.pins)
        found.append(f"pinned programs and maps in {config.pins}")
    if cgroups.remove(cgroup):
        found.append(f"cgroup {cgroup}")
    if config.state_dir.is_dir():
        shutil.rmtree(config.state_dir)
        found.append(f"state in {config.state_dir}")
    return found


def delete_netns(config: MeshConfig, name: str) -> bool:
    """Delete a recorded netns; False when there was none."""
    return netns.delete(name, config.netns_record)


async def cleanup(name: str) -> list[str]:
    """Remove all leftovers of a mesh of this name; what was found, in words.

    Does nothing when there are none. Raises PreflightError when the mesh runs.
    """
    preflight.require_root()
    config = MeshConfig(name=name)
    lock = MeshLock.take(config)
    try:
        return await sweep(config)
    finally:
        lock.release()
        remove_run_dir()


def remove_run_dir() -> None:
    """Remove the folder of all meshes when there is none in it any more."""
    try:
        RUN_DIR.rmdir()
    except OSError:
        pass
