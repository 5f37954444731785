"""The standalone mesh: everything put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bpf import bpffs
from deploy.standalone.config import READY_PORT, MeshConfig
from deploy.standalone.runner import cgroups, cleanup, logs, network, preflight
from deploy.standalone.runner.controlapi import ControlApi, Watch
from deploy.standalone.runner.errors import NetworkError, StartError
from deploy.standalone.runner.fleet import Fleet
from deploy.standalone.runner.lock import MeshLock
from deploy.standalone.runner.node import Node
from deploy.standalone.runner.resolver import Resolver
from deploy.standalone.runner.spec import Readiness
from deploy.standalone.runner.status import StatusReporter
from deploy.standalone.runner.system import (
    Programs,
    SystemProcess,
    control_launch,
    daemon_launch,
)
from deploy.standalone.runner.tokens import TokenFile
from deploy.standalone.runner.upstream import Upstream
from deploy.standalone.runner.zone import Zone
from ztunnel_compat.runtime.tasks import Tasks, cancel

logger = logging.getLogger(__name__)

Progress = Callable[[str], None]
POLL = 0.05


class Mesh:
    """A mesh on this machine, for as long as the ``async with`` block lasts.

    ::

        async with Mesh(MeshConfig(), files=[Path("bookinfo")], progress=print) as mesh:
            await mesh.wait_ready("bookinfo")
            await mesh.wait(until_signal())

    files: manifests, or folders of them, that the control plane watches.
    progress: gets a line at the start of each step.
    Entering raises PreflightError before anything was made, StartError or
    NetworkError after everything was removed again. It must be entered from the
    main thread: the kernel ends children with the thread that made them.
    """

    def __init__(
        self,
        config: MeshConfig,
        *,
        files: Sequence[Path],
        progress: Progress = logger.info,
        programs: Programs | None = None,
    ) -> None:
        self.config = config
        self.files = files
        self.progress = progress
        self.programs = programs or Programs()
        self.tasks = Tasks()
        self.exit = AsyncExitStack()
        self.cgroup_mount = Path()
        self.nodes: dict[str, Node] = {}
        self.daemons: list[SystemProcess] = []
        self.following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        preflight.require_root()
        lock = MeshLock.take(self.config)
        self.exit.callback(cleanup.remove_run_dir)
        self.exit.callback(lock.release)
        try:
            await self.start()
        except BaseException:
            await self.exit.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.exit.aclose()

    # ---- coming up

    async def start(self) -> None:
        """Bring everything up; what was begun is on the exit stack."""
        found = await cleanup.sweep(self.config)
        if found:
            self.progress(f"removed what an earlier run left: {', '.join(found)}")
        await asyncio.to_thread(preflight.require, self.config, self.files)
        self.cgroup_mount = cgroups.mounted()
        self.exit.push_async_callback(cleanup.sweep, self.config)
        self.api = await self.exit.enter_async_context(ControlApi(self.config.control_socket))
        self.exit.push_async_callback(self.tasks.close)
        self.make_places()
        self.progress(f"making the network of {len(self.config.nodes)} node(s)")
        await asyncio.to_thread(make_network, self.config)
        await self.start_nodes()
        control = self.control_process()
        self.exit.push_async_callback(control.stop)
        self.daemons = [self.daemon_process(node) for node in self.nodes.values()]
        for daemon in self.daemons:
            self.exit.push_async_callback(daemon.stop)
        # Again, and now before the processes are stopped: nobody starts them anew.
        self.exit.push_async_callback(self.tasks.close)
        self.progress("starting the control plane")
        self.tasks.spawn(control.run(), control.name)
        await control.up()
        await self.start_tokens()
        for daemon in self.daemons:
            self.tasks.spawn(daemon.run(), daemon.name)
        await self.start_fleet()
        self.progress("starting the node daemons: the kernel programs are compiled and loaded")
        await asyncio.gather(*(daemon.up() for daemon in self.daemons))
        self.progress("starting the pods")
        self.exit.push_async_callback(self.stop_pods)
        await self.fleet.apply(self.snapshot)
        self.following = self.tasks.spawn(self.follow(), "snapshots")

    def make_places(self) -> None:
        """Make folders, cgroups and the place for pins."""
        config = self.config
        for folder in (config.control_dir, config.netns_record):
            folder.mkdir(parents=True, exist_ok=True)
        bpffs.ensure(config.pins)
        for node in config.nodes:
            for cgroup in (config.node_cgroup, config.probe_cgroup):
                cgroup(self.cgroup_mount, node).mkdir(parents=True, exist_ok=True)

    async def start_nodes(self) -> None:
        """Open what each node serves: ZDS, cluster DNS, balancer."""
        self.resolver = Resolver(Zone(self.config, ()), Upstream())
        for name in self.config.nodes:
            node = Node(self.config, name, self.cgroup_mount, self.resolver)
            self.nodes[name] = node
            self.exit.push_async_callback(node.close)
            await node.start(self.tasks)
        self.tasks.spawn(logs.keep_small(self.config.state_dir), "log rotation")

    async def start_tokens(self) -> None:
        """Write the node agents' tokens, before any of them reads its own."""
        for node in self.config.nodes:
            file = TokenFile(self.api, self.config.agent_token(node), {"node": node})
            await file.first()
            self.tasks.spawn(file.keep(), f"token of {node}")

    async def start_fleet(self) -> None:
        """Follow the control plane: its first snapshot, so that it need not wait for us."""
        self.reporter = StatusReporter(self.api, self.config.nodes)
        self.fleet = Fleet(
            self.config,
            self.nodes,
            self.resolver,
            self.reporter,
            self.tasks,
            tokens=self.api,
        )
        self.watch = Watch(self.api, self.reporter.send_all)
        self.tasks.spawn(self.reporter.run(), "statuses")
        self.snapshot = await self.watch.next()

    async def follow(self) -> None:
        """Apply snapshots for ever."""
        while True:
            await self.fleet.apply(await self.watch.next())

    async def stop_pods(self) -> None:
        """End all pods, and start no more."""
        if self.following is not None:
            await cancel({self.following})
        await self.fleet.close()

    def control_process(self) -> SystemProcess:
        """The control process, not yet running."""
        launch = control_launch(self.config, self.programs, self.files, self.cgroup_mount)
        return SystemProcess(
            "the control plane", launch, self.config.process_log("control"), self.control_ready
        )

    async def control_ready(self) -> bool:
        """Whether the control API says that it is healthy."""
        return self.config.control_socket.is_socket() and await self.api.healthy()

    def daemon_process(self, node: Node) -> SystemProcess:
        """A node's daemon, not yet running."""
        launch = daemon_launch(self.config, self.programs, node.name, self.cgroup_mount)
        readiness = Readiness("http", READY_PORT, "/healthz/ready")

        async def ready() -> bool:
            return not await node.prober.check(readiness, "127.0.0.1")

        log = self.config.process_log(f"daemon-{node.name}")
        # The node agent's own choice of a place.
        handover = self.config.zds_socket(node.name).with_name("handover.sock")
        return SystemProcess(f"the daemon of {node.name}", launch, log, ready, handover)

    # ---- while it runs

    async def wait_ready(self, namespace: str | None = None, seconds: float = 60.0) -> None:
        """Wait until all pods (of a namespace) are ready, and services lead to them.

        Raises StartError after so many seconds, naming the pods that are not.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while unready := self.fleet.unready(namespace):
            if loop.time() > deadline:
                lines = (f"{s.namespace}/{s.name}: {s.message or s.phase}" for s in unready)
                raise StartError(
                    "\n  ".join([f"not ready after {seconds:g} s:", *lines])
                    + f"\n  see the logs in {self.config.state_dir}/pods"
                )
            await asyncio.sleep(POLL)
        try:
            async with asyncio.timeout_at(max(deadline, loop.time() + POLL)):
                await self.fleet.led_to(namespace)
        except TimeoutError:
            raise StartError("pods are ready, but services don't lead to them") from None

    async def wait(self, until: Coroutine[Any, Any, Any] | None = None) -> None:
        """Return when until is done (never, without one).

        Raises what ended a background task that should never end.
        """
        await self.tasks.wait(until)


def make_network(config: MeshConfig) -> None:
    """Make fabric, nodes and the machine's own link; raises NetworkError."""
    try:
        network.make_fabric(config)
        for node in config.nodes:
            network.make_node(config, node)
        network.make_host_link(config)
        network.join_fabric(config)
    except OSError as error:
        raise NetworkError(f"the network can't be made: {error}") from error
