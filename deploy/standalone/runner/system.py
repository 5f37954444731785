"""The mesh's own processes: control plane and node daemons."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.standalone.config import HOST, MeshConfig
from deploy.standalone.runner import cgroups, netns, process
from deploy.standalone.runner.errors import LaunchError, StartError
from deploy.standalone.runner.launch import PATH
from deploy.standalone.runner.process import Launch, Process
from deploy.standalone.runner.restart import RestartDelay
from ztunnel_compat.runtime.tasks import Tasks

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[3]
RETRY_FROM, RETRY_TO = 0.1, 5.0
POLL = 0.02
#: Programs are compiled the first time; on a busy machine that takes a while.
START_TIMEOUT = 120.0
GRACE = 5.0
#: How often it is looked whether a process hands over, in seconds.
HANDOVER_LOOK = 0.1


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
        addresses = f"{config.node_address4(node)},{config.node_address6(node)}"
        arguments += ["--node", f"{node}={addresses}"]
    # The host is reached by way of the first node, which thus has its processes too.
    host = f"{config.fabric4(HOST)},{config.fabric6(HOST)}"
    arguments += ["--members", f"{config.nodes[0]}={host}"]
    arguments += ["--trust-domain", config.trust_domain]
    arguments += ["--access-log", config.access_log]
    # The fabric's netns doesn't reach the machine's resolvers; ours does.
    arguments += ["--resolver-netns", f"/proc/{os.getpid()}/ns/net"]
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
        "XDS_ROOT_CA": str(config.roots_file),
        "CA_ADDRESS": config.ads_address,
        "CA_ROOT_CA": str(config.roots_file),
        "TOKEN_PATH": str(config.agent_token(node)),
        "TRUST_DOMAIN": config.trust_domain,
        "ZDS_PATH": str(config.zds_socket(node)),
        "PIN_DIR": str(config.pin_dir(node)),
        "CGROUP_ROOT": str(config.node_cgroup(mount, node)),
        "CLUSTER_DOMAIN": config.cluster_domain,
        "DNS_UPSTREAM": f"{config.dns_address4},{config.dns_address6}",
        "MEMBERS_PATH": str(config.members_socket(node)),
        "PROBE_CGROUP": str(config.probe_cgroup(mount, node)),
        "LOG_LEVEL": config.log_level,
        "SAME_NODE_MTLS": "true" if config.same_node_mtls else "false",
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
    """One of the mesh's own processes, started again whenever it ends.

    handover: a unix socket that the process listens at when it is asked to end and has
    something for its successor. The successor is started at once then, beside it. Each
    run has a cgroup of its own, so that one can be cleared away without the other.
    """

    def __init__(
        self,
        name: str,
        place: Launch,
        log: Path,
        ready: Callable[[], Awaitable[bool]],
        handover: Path | None = None,
    ) -> None:
        self.name = name
        self.place = place
        self.log = log
        self.ready = ready
        self.handover = handover
        self.process: Process | None = None
        self.leaving: set[Process] = set()
        self.runs = 0
        self.ends = 0
        self.last_end = ""

    async def run(self) -> None:
        """Keep the process running. Cancelled, it leaves the processes to ``stop``."""
        self.prepare()
        delays = RestartDelay(RETRY_FROM, RETRY_TO)
        loop = asyncio.get_running_loop()
        async with Tasks() as tasks:
            await self.keep_running(delays, loop.time, tasks)

    async def keep_running(
        self, delays: RestartDelay, clock: Callable[[], float], tasks: Tasks
    ) -> None:
        """Run the process again and again; clock: seconds."""
        while True:
            since = clock()
            cgroup = self.next_cgroup()
            end = await self.run_once(cgroup)
            if end is None:
                assert self.process is not None
                logger.info("%s hands over to a successor", self.name)
                self.leaving.add(self.process)
                tasks.spawn(self.see_off(self.process, cgroup), f"old run of {self.name}")
                continue
            self.last_end = end
            self.ends += 1
            await clear(cgroup)
            delay = delays.after(clock() - since)
            logger.warning(
                "%s %s; starting it again in %g s; its log is %s",
                self.name,
                self.last_end,
                delay,
                self.log,
            )
            await asyncio.sleep(delay)

    def prepare(self) -> None:
        """Make the process's cgroup and the folder of its log."""
        Path(self.place.cgroup).mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)

    def next_cgroup(self) -> Path:
        """Make the cgroup of another run."""
        self.runs += 1
        cgroup = Path(self.place.cgroup) / str(self.runs)
        cgroup.mkdir(exist_ok=True)
        return cgroup

    async def run_once(self, cgroup: Path) -> str | None:
        """Run the process to its end; how it ended, in words. None: it hands over."""
        # What a predecessor still offers isn't this one's.
        looked = self.handover is None or not self.handover.is_socket()
        try:
            self.process = process.spawn(replace(self.place, cgroup=str(cgroup)), self.log)
            await self.process.executed()
        except (LaunchError, OSError) as error:
            return f"can't be started: {error}"
        while True:
            try:
                async with asyncio.timeout(HANDOVER_LOOK if self.handover else None):
                    return process.describe_exit(await self.process.wait())
            except TimeoutError:
                offered = self.handover is not None and self.handover.is_socket()
                if offered and looked:
                    return None
                looked = looked or not offered

    async def see_off(self, old: Process, cgroup: Path) -> None:
        """Clear away a run that handed over, once it has ended."""
        status = await old.wait()
        self.leaving.discard(old)
        await clear(cgroup)
        logger.info("the old run of %s %s", self.name, process.describe_exit(status))

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
        running = self.leaving if self.process is None else {*self.leaving, self.process}
        await asyncio.gather(*(process.stop(one, GRACE) for one in running))
        await cgroups.kill(Path(self.place.cgroup))


async def clear(cgroup: Path) -> None:
    """End what a run left, and remove its cgroup."""
    await cgroups.kill(cgroup)
    cgroups.remove(cgroup)
