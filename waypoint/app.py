"""The waypoint's composition root."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import sys
from contextlib import AsyncExitStack
from functools import partial

from waypoint.clusters import Clusters
from waypoint.config import AccessLog, Config, L4Mode
from waypoint.dumps import config_dump
from waypoint.filters.jwt.keeper import Keeper
from waypoint.filters.kinds import KINDS
from waypoint.filters.local_limit.shared import Buckets, make_buckets
from waypoint.hbone.server import HBONE_PORT
from waypoint.hbone.setup import Hbone, make_hbone
from waypoint.health_driver import HealthDriver
from waypoint.log_writer import LogWriter
from waypoint.metrics.pages import PAGE, metrics_server, page_of, source_of
from waypoint.pressure import watch
from waypoint.server import IDENTITY_PORT, SANDWICHED, IdentityServer, PeerQuery
from waypoint.slicer import Slicer
from waypoint.sockets import peer_of
from waypoint.stats import Stats
from waypoint.targets import Targets
from waypoint.worker import Limits, Worker
from waypoint.workers import end_with_parent, supervise
from ztunnel_compat.drivers.login import xds_login
from ztunnel_compat.drivers.mesh_client import MeshClient, NodeInfo
from ztunnel_compat.names import pod_uid
from ztunnel_compat.runtime.admin import Admin
from ztunnel_compat.runtime.descriptors import writer_to
from ztunnel_compat.runtime.errors import ListenError
from ztunnel_compat.runtime.memory import keep_buffers
from ztunnel_compat.runtime.tasks import Tasks, until_signal
from ztunnel_compat.state import Changes, WorkloadState

logger = logging.getLogger(__name__)

#: How long connections may go on after SIGTERM.
DRAIN_SECONDS = 30.0
#: How long clients' HBONE connections may take to end after that.
CLOSE_SECONDS = 1.0
#: Between two turns of the wheel that deadlines are on.
TICK = 1.0


async def start(config: Config) -> None:
    """Serve, in this process or in several of them. Raises ProcessError."""
    if config.admin_socket is not None:
        end_with_parent()
        await run(config)
    elif config.workers > 1:
        await supervise(config)
    else:
        await run(config)


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
        log = LogWriter(
            writer_to(sys.stdout.fileno()),
            stats,
            loop,
            on=config.access_log is AccessLog.STDOUT,
        )
        stack.callback(log.flush)
        targets = Targets(
            state=state,
            clusters=Clusters(
                state, home=own_uid(config), now=loop.time, later=Slicer(loop).add
            ),
            namespace=config.proxy.pod_namespace,
            gateway=config.gateway_name,
            network=config.network,
            now=lambda: mesh.heard,
            kinds=KINDS,
            identity=str(config.identity),
        )
        worker = Worker(
            loop=loop,
            tasks=tasks,
            targets=targets,
            log=log,
            stats=stats,
            limits=Limits(),
            buckets=make_buckets()
            if config.buckets is None
            else Buckets(config.buckets, new=False),
        )
        worker.jwks = Keeper(worker)
        server = IdentityServer(
            worker,
            peer_of=(
                peer_query if config.l4_mode is L4Mode.NODE else lambda _connection: SANDWICHED
            ),
            source_of=state.workload_by_hash,
            workload_at=partial(state.workload_at, config.network),
            informed=lambda: mesh.connected,
        )

        hbone = (
            make_hbone(config, worker, lambda: mesh.connected)
            if config.l4_mode is L4Mode.NONE
            else None
        )

        def on_change(changes: Changes) -> None:
            targets.apply(changes)
            worker.pushed()
            server.retry()
            if hbone is not None:
                hbone.server.retry()

        mesh = MeshClient(
            server=xds_login(config.proxy),
            node=NodeInfo.of("waypoint", config.proxy),
            state=state,
            on_change=on_change,
        )
        admin = Admin(config.admin_socket)
        admin.pages["/config_dump"] = lambda: config_dump(config, server, mesh, hbone)
        stack.push_async_callback(admin.close)
        await admin.start()
        if config.admin_socket is not None:
            admin.pages[PAGE] = page_of(worker)
        else:
            metrics = metrics_server(source_of(worker))
            stack.push_async_callback(metrics.close)
            await metrics.start()
        admin.unready = f"no complete push from {config.proxy.xds_address} yet"
        tasks.spawn(mesh.run(), "xDS client")
        health = HealthDriver(targets.clusters, tasks)
        tasks.spawn(tick(worker, health), "deadlines")
        pressure = watch(worker, config.memory_share, config.workers)
        tasks.spawn(pressure.run(), "overload")
        tasks.spawn(serve(config, server, hbone, mesh, admin), "listening")
        await tasks.wait(until_signal())
        admin.unready = "draining"
        logger.info("draining %d connections", worker.connections)
        if hbone is not None:
            await hbone.server.stop_accepting()
        await server.drain(DRAIN_SECONDS)
        if hbone is not None:
            await hbone.close(CLOSE_SECONDS)
        logger.info("stopped")


def own_uid(config: Config) -> str:
    """The xDS name of the workload that this process is."""
    proxy = config.proxy
    return pod_uid(proxy.cluster_id, proxy.pod_namespace, proxy.pod_name)


def prepare_process() -> None:
    """Room for as many connections as the system lets us have; see memory."""
    keep_buffers()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(
    config: Config,
    server: IdentityServer,
    hbone: Hbone | None,
    mesh: MeshClient,
    admin: Admin,
) -> None:
    """Listen once the mesh is known: a connection before that could only wait."""
    await mesh.synced.wait()
    port = IDENTITY_PORT
    try:
        if hbone is not None:
            port = HBONE_PORT
            await hbone.certified(partial(setattr, admin, "unready"))
            hbone.server.listen()
        else:
            await server.listen(loopback=config.l4_mode is L4Mode.SANDWICH)
    except OSError as error:
        raise ListenError(f"can't listen on port {port}: {error.strerror}") from error
    # The mesh lives long: the garbage collector needn't walk all of it at each turn.
    gc.freeze()
    admin.unready = ""
    logger.info("ready: port %d, l4 %s", port, config.l4_mode)


async def tick(worker: Worker, health: HealthDriver) -> None:
    """Turn the wheel, and check who is to be checked."""
    while True:
        await asyncio.sleep(TICK)
        worker.tick()
        health.advance()
