"""The mesh's own processes: control plane and node daemons."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner import cgroups, netns, process
from deploy.standalone.runner.errors import LaunchError, StartError
from deploy.standalone.runner.launch import PATH
from deploy.standalone.runner.process import Launch, Process
from deploy.standalone.runner.restart import RestartDelay

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[3]
RETRY_FROM, RETRY_TO = 0.1, 5.0
POLL = 0.02
#: Programs are compiled the first time; on a busy machine that takes a while.
START_TIMEOUT = 120.0
GRACE = 5.0


@dataclass(frozen=True)
class Programs:
    """What is run as control plane and as daemon."""

    control: tuple[str, ...] = (sys.executable, "-m", "deploy.standalone.control")
    daemon: tuple[str, ...] = (sys.executable, "-m", "daemon")


def control_launch(
    config: MeshConfig, programs: Programs, files: Sequence[Path], mount: Path
) -> Launch:
    """The control process, in the fabric's netns."""
    arguments = ["--mesh", config.name, "--state-dir", str(config.state_dir)]
    for file in files:
        arguments += ["--file", str(file.resolve())]
    arguments += ["--service-cidr4", str(config.service_cidr4)]
    arguments += ["--service-cidr6", str(config.service_cidr6)]
    for node in config.nodes:
        arguments += ["--node", node]
    return Launch(
        argv=(*programs.control, *arguments),
        cgroup=str(config.cgroup(mount) / "control"),
        netns=str(netns.path(config.fabric_netns)),
        environment=base_environment(),
    )


def daemon_launch(config: MeshConfig, programs: Programs, node: str, mount: Path) -> Launch:
    """A node's daemon, in the node's netns; its settings are environment variables."""
    settings = {
        "NODE_NAME": node,
        "CLUSTER_ID": config.cluster_id,
        "INSTANCE_IP": str(config.node_address4(node)),
        "POD_NAME": node,
        "POD_NAMESPACE": "tandem-system",
        "XDS_ADDRESS": config.ads_address,
        "ZDS_PATH": str(config.zds_socket(node)),
        "PIN_DIR": str(config.pin_dir(node)),
        "CGROUP_ROOT": str(config.node_cgroup(mount, node)),
        "LOG_LEVEL": config.log_level,
    }
    return Launch(
        argv=programs.daemon,
        cgroup=str(config.node_cgroup(mount, node) / "daemon"),
        netns=str(netns.path(config.node_netns(node))),
        environment=base_environment() | settings,
    )


def base_environment() -> dict[str, str]:
    """What every process of ours gets: our own packages, wherever they are."""
    return {"PATH": PATH, "HOME": "/root", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


class SystemProcess:
    """One of the mesh's own processes, started again whenever it ends."""

    def __init__(
        self, name: str, place: Launch, log: Path, ready: Callable[[], Awaitable[bool]]
    ) -> None:
        self.name = name
        self.place = place
        self.log = log
        self.ready = ready
        self.process: Process | None = None
        self.ends = 0
        self.last_end = ""

    async def run(self) -> None:
        """Keep the process running. Cancelled, it leaves the process to ``stop``."""
        cgroup = self.prepare()
        delays = RestartDelay(RETRY_FROM, RETRY_TO)
        loop = asyncio.get_running_loop()
        while True:
            since = loop.time()
            self.last_end = await self.run_once()
            self.ends += 1
            await cgroups.kill(cgroup)
            delay = delays.after(loop.time() - since)
            logger.warning(
                "%s %s; starting it again in %g s; its log is %s",
                self.name,
                self.last_end,
                delay,
                self.log,
            )
            await asyncio.sleep(delay)

    def prepare(self) -> Path:
        """Make the process's cgroup and the folder of its log; the cgroup."""
        cgroup = Path(self.place.cgroup)
        cgroup.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        return cgroup

    async def run_once(self) -> str:
        """Run the process to its end; how it ended, in words."""
        try:
            self.process = process.spawn(self.place, self.log)
            await self.process.executed()
        except (LaunchError, OSError) as error:
            return f"can't be started: {error}"
        return process.describe_exit(await self.process.wait())

    async def up(self, seconds: float = START_TIMEOUT) -> None:
        """Wait until it is ready for the first time.

        Raises StartError, with the end of its log, when it ends before that or
        isn't ready within so many seconds.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not await self.ready():
            if self.ends:
                raise StartError(self.failure(self.last_end))
            if loop.time() > deadline:
                raise StartError(self.failure(f"is not ready after {seconds:g} s"))
            await asyncio.sleep(POLL)

    def failure(self, what: str) -> str:
        """A message that shows why."""
        lines = process.tail(self.log)
        if not lines:
            return f"{self.name} {what}"
        return "\n  ".join([f"{self.name} {what}; the end of its log:", *lines])

    async def stop(self) -> None:
        """End it, asking first. ``run`` must have been cancelled."""
        if self.process is not None:
            await process.stop(self.process, GRACE)
        await cgroups.kill(Path(self.place.cgroup))
