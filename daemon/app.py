"""The node agent's composition root."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from contextlib import AsyncExitStack

from bpf.errors import BpfError
from bpf.knobs import Knobs
from bpf.loader import load
from bpf.maps import Maps
from bpf.probe import missing_features
from daemon.agent import Agent
from daemon.config import Config
from daemon.departed import Departed
from daemon.desired import Desired
from daemon.dumps import config_dump, tables
from daemon.enroll import Enroller
from daemon.errors import KernelProgramsError, UnsupportedError
from daemon.pod_netns import KernelPodNetns
from daemon.program import Programmer, dump
from daemon.reconcile import Programmed
from ztunnel_compat.drivers.mesh_client import MeshClient, NodeInfo
from ztunnel_compat.drivers.zds_client import ZdsClient
from ztunnel_compat.runtime.admin import Admin
from ztunnel_compat.runtime.errors import ConfigError
from ztunnel_compat.runtime.tasks import Tasks, until_signal
from ztunnel_compat.state import WorkloadState

logger = logging.getLogger(__name__)


async def run(config: Config) -> None:
    """Serve one node until SIGTERM or SIGINT, then leave everything pinned.

    Raises ProcessError when the node can't be served.
    """
    async with AsyncExitStack() as stack:
        # First, so that a second agent on the node ends before it attaches anything.
        admin = Admin()
        stack.push_async_callback(admin.close)
        await admin.start()
        admin.unready = "loading the kernel programs"
        maps, programmed = await asyncio.to_thread(take_kernel, config)
        stack.callback(maps.close)

        state = WorkloadState()
        desired = Desired(state, config.network, programmed.pods)
        agent = Agent(desired, Programmer(maps, programmed))
        mesh = MeshClient(
            target=config.proxy.xds_address,
            node=NodeInfo.of("ztunnel", config.proxy),
            state=state,
            on_change=agent.on_change,
        )
        tasks = await stack.enter_async_context(Tasks())
        departed = Departed(maps.flows, tasks)
        stack.callback(departed.close)
        enroller = Enroller(
            config.proxy.cluster_id,
            desired,
            agent.programmer,
            KernelPodNetns(config.pin_dir),
            departed,
        )
        zds = ZdsClient(config.zds_path, enroller)
        admin.pages["/config_dump"] = lambda: config_dump(
            config=config, mesh=mesh, zds=zds, enroller=enroller, agent=agent, maps=maps
        )
        admin.pages["/debug/tables"] = lambda: tables(programmed, state)
        admin.unready = f"no complete push from {config.proxy.xds_address} yet"
        tasks.spawn(zds.run(), "enrolment")
        tasks.spawn(mesh.run(), "xDS client")
        tasks.spawn(agent.run(mesh.synced), "reconciliation")
        tasks.spawn(announce(agent, admin), "readiness")
        await tasks.wait(until_signal())
        logger.info("stopping; the kernel programs and maps stay in force")


async def announce(agent: Agent, admin: Admin) -> None:
    """Tell probes when the agent gets ready."""
    await agent.ready.wait()
    # The mesh lives long: the garbage collector needn't walk all of it at each turn.
    gc.freeze()
    admin.unready = ""
    logger.info("ready")


def take_kernel(config: Config) -> tuple[Maps, Programmed]:
    """Load or adopt the programs and read the maps; blocks for up to seconds."""
    missing = missing_features(config.cgroup_root)
    if missing:
        lacks = "; ".join(map(str, missing))
        raise UnsupportedError(f"with pods below {config.cgroup_root} this node lacks: {lacks}")
    if not config.cgroup_root.is_dir():
        raise ConfigError(f"CGROUP_ROOT={str(config.cgroup_root)!r} is no directory")
    try:
        loaded = load(config.pin_dir, config.cgroup_root, Knobs())
        maps = Maps.open(config.pin_dir)
    except BpfError as error:
        raise KernelProgramsError(f"programs below {config.pin_dir}: {error}") from error
    started = time.monotonic()
    programmed = dump(maps)
    logger.info(
        "kernel programs %s in %.2f s, %d addresses and %d pods read in %.2f s",
        "adopted" if loaded.adopted else "swapped" if loaded.swapped else "loaded",
        loaded.seconds,
        len(programmed.addresses),
        len(programmed.pods),
        time.monotonic() - started,
    )
    return maps, programmed
