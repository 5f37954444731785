"""The waypoint's composition root."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import sys
from contextlib import AsyncExitStack

from waypoint.clusters import Clusters
from waypoint.config import Config
from waypoint.dumps import config_dump
from waypoint.log_writer import LogWriter, writer_to
from waypoint.memory import keep_buffers
from waypoint.server import IDENTITY_PORT, IdentityServer, PeerQuery
from waypoint.sockets import peer_of
from waypoint.stats import Stats
from waypoint.targets import Targets
from waypoint.worker import Limits, Worker
from ztunnel_compat.drivers.mesh_client import MeshClient, NodeInfo
from ztunnel_compat.runtime.admin import Admin
from ztunnel_compat.runtime.errors import ListenError
from ztunnel_compat.runtime.tasks import Tasks, until_signal
from ztunnel_compat.state import Changes, WorkloadState

logger = logging.getLogger(__name__)

#: How long connections may go on after SIGTERM.
DRAIN_SECONDS = 30.0
#: Between two turns of the wheel that deadlines are on.
TICK = 1.0


async def run(config: Config, peer_query: PeerQuery = peer_of) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Raises ProcessError.

    peer_query asks who made an accepted connection.
    """
    loop = asyncio.get_running_loop()
    prepare_process()
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(Tasks())
        state = WorkloadState()
        stats = Stats()
        log = LogWriter(writer_to(sys.stdout.fileno()), stats, loop)
        stack.callback(log.flush)
        targets = Targets(
            state=state,
            clusters=Clusters(state),
            namespace=config.proxy.pod_namespace,
            gateway=config.gateway_name,
            now=loop.time,
        )
        worker = Worker(
            loop=loop, tasks=tasks, targets=targets, log=log, stats=stats, limits=Limits()
        )
        server = IdentityServer(
            worker,
            peer_of=peer_query,
            source_of=state.workload_by_hash,
            informed=lambda: mesh.connected,
        )

        def on_change(changes: Changes) -> None:
            targets.apply(changes)
            server.retry()

        mesh = MeshClient(
            target=config.proxy.xds_address,
            node=NodeInfo.of("waypoint", config.proxy),
            state=state,
            on_change=on_change,
        )
        admin = Admin()
        admin.pages["/config_dump"] = lambda: config_dump(config, server, mesh)
        stack.push_async_callback(admin.close)
        await admin.start()
        admin.unready = f"no complete push from {config.proxy.xds_address} yet"
        tasks.spawn(mesh.run(), "xDS client")
        tasks.spawn(tick(worker), "deadlines")
        tasks.spawn(serve(server, mesh, admin), "identity port")
        await tasks.wait(until_signal())
        admin.unready = "draining"
        logger.info("draining %d connections", worker.connections)
        await server.drain(DRAIN_SECONDS)
        logger.info("stopped")


def prepare_process() -> None:
    """Room for as many connections as the system lets us have; see memory."""
    keep_buffers()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(server: IdentityServer, mesh: MeshClient, admin: Admin) -> None:
    """Listen once the mesh is known: a connection before that could only wait."""
    await mesh.synced.wait()
    try:
        await server.listen()
    except OSError as error:
        raise ListenError(f"can't listen on port {IDENTITY_PORT}: {error.strerror}") from error
    # The mesh lives long: the garbage collector needn't walk all of it at each turn.
    gc.freeze()
    admin.unready = ""
    logger.info("ready: identity port %d", IDENTITY_PORT)


async def tick(worker: Worker) -> None:
    """Turn the wheel."""
    while True:
        await asyncio.sleep(TICK)
        worker.tick()
