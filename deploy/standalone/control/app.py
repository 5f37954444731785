"""The control process, put together."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack

from deploy.standalone.control.ads.gate import Gate
from deploy.standalone.control.ads.server import AdsService
from deploy.standalone.control.api.handlers import Api
from deploy.standalone.control.api.server import serve as serve_api
from deploy.standalone.control.auth.desk import TokenDesk
from deploy.standalone.control.auth.guard import Guard
from deploy.standalone.control.auth.tokens import Tokens
from deploy.standalone.control.ca.authority import Authority, CaSettings, server_names
from deploy.standalone.control.ca.service import CertificateService
from deploy.standalone.control.config import ControlConfig
from deploy.standalone.control.engine import Engine
from deploy.standalone.control.files import ManifestFiles
from deploy.standalone.control.names import NameWatcher, Resolver
from deploy.standalone.control.objects import CLUSTER_DOMAIN
from deploy.standalone.control.server import serve
from deploy.standalone.control.state import StateStore
from deploy.standalone.control.translate.workloads import CLUSTER_ID
from deploy.standalone.control.view import Settings
from deploy.standalone.control.waypoints import WaypointSettings
from ztunnel_compat.runtime.tasks import Tasks, until_signal

logger = logging.getLogger(__name__)

GRACE = 0.5


async def run(config: ControlConfig) -> None:
    """Serve until SIGTERM or SIGINT; raises ControlError, and what ended a task.

    The order matters to a runner that sees this process come back: nothing
    answers before there is something true to say.
    """
    settings = Settings(
        nodes=tuple(config.nodes),
        ranges=config.ranges,
        waypoints=WaypointSettings(
            CLUSTER_ID, config.xds_address, config.roots, config.access_log
        ),
        trust_domain=config.trust_domain,
        members=config.members,
    )
    authority = await Authority.open(ca_settings(config))
    engine = Engine(settings, StateStore(config.own_dir))
    files = ManifestFiles(config.files, engine)
    gate = Gate(config.nodes)
    tokens = Tokens(authority.token_key)
    guard = Guard(tokens, engine, gate, config.nodes)
    ads = AdsService(engine, gate, guard)
    desk = TokenDesk(tokens, engine, config.nodes)
    async with AsyncExitStack() as stack:
        await files.read_all()
        await engine.step()
        quieten_collector()
        certificates = CertificateService(authority, guard)
        server, port = await serve(ads, certificates, authority, config.listen)
        stack.push_async_callback(server.stop, GRACE)
        tasks = await stack.enter_async_context(Tasks())
        tasks.spawn(engine.run(), "views")
        tasks.spawn(files.run(), "watched files")
        tasks.spawn(authority.run(), "certificate authority")
        resolver = Resolver(config.resolver_netns)
        stack.callback(resolver.close)
        NameWatcher(engine, tasks, resolver.lookup)
        handlers = Api(engine, ads, gate, desk, authority)
        api = await serve_api(handlers.application(), config.socket)
        stack.push_async_callback(api.cleanup)
        logger.info(
            "mesh %s: %d objects, ADS and CA on port %d, told to pods as %s, API at %s",
            config.mesh,
            len(engine.catalog.objects()),
            port,
            config.xds_address,
            config.socket,
        )
        tasks.spawn(open_gate(gate, engine, ads.open), "first statuses")
        await tasks.wait(until_signal())
        logger.info("asked to end")


def ca_settings(config: ControlConfig) -> CaSettings:
    """The authority's part of the configuration."""
    return CaSettings(
        folder=config.own_dir / "ca",
        roots=config.roots,
        trust_domain=config.trust_domain,
        server_names=server_names(config.xds_address, config.listen, CLUSTER_DOMAIN),
    )


def quieten_collector() -> None:
    """Keep garbage collection short: it holds up the event loop, worker thread or not.

    What was made so far lasts, and has no cycles: a full collection would look at
    all of it again and again (100 ms at 5,000 pods).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def open_gate(gate: Gate, engine: Engine, open_ads: Callable[[], None]) -> None:
    """Let ADS answer once what the nodes have said is in the view."""
    await gate.wait_complete()
    await engine.settled()
    open_ads()
