"""One process of a pod: started, probed, started again, stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.standalone.runner import cgroups, probe, process
from deploy.standalone.runner.errors import LaunchError
from deploy.standalone.runner.launch import NOT_FOUND
from deploy.standalone.runner.process import Launch, Process
from deploy.standalone.runner.restart import RestartDelay, restarts
from deploy.standalone.runner.spec import ContainerSpec, Readiness
from deploy.standalone.runner.status import ContainerState
from ztunnel_compat.runtime.tasks import Tasks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What a container gets from its pod.

    check: one readiness probe of this pod; changed: called after each change of
    the container's state.
    """

    title: str
    log: Path
    restart_policy: str
    check: Callable[[Readiness], Awaitable[str]]
    changed: Callable[[], None]


class Container:
    """Supervises one process; ``state`` says how it is."""

    def __init__(self, spec: ContainerSpec, place: Launch, around: Surroundings) -> None:
        self.spec = spec
        self.place = place
        self.around = around
        self.cgroup = Path(place.cgroup)
        self.state = ContainerState()
        self.process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id, while one runs."""
        return self.process.pid if self.process and self.process.running else None

    def become(self, **changes: object) -> None:
        """Change the state and say so."""
        new = replace(self.state, **changes)  # type: ignore[arg-type]
        if new != self.state:
            self.state = new
            self.around.changed()

    async def run(self) -> None:
        """Run the process, again and again as the restart policy wants.

        Returns when it wants no more. Cancelled, it leaves the process to ``stop``.
        """
        delays = RestartDelay()
        loop = asyncio.get_running_loop()
        self.cgroup.mkdir(parents=True, exist_ok=True)
        while True:
            since = loop.time()
            status, message = await self.run_once()
            # Whatever it started ends with it, as in a container.
            await cgroups.kill(self.cgroup)
            ended = {"running": False, "ready": False, "exit_status": status}
            if not restarts(self.around.restart_policy, status):
                self.become(**ended, finished=True, message=message if status else "")
                return
            delay = delays.after(loop.time() - since)
            count = self.state.restarts + 1
            text = f"{message}; starting it again in {delay:g} s"
            logger.warning("%s: %s", self.around.title, text)
            self.become(**ended, message=text)
            await asyncio.sleep(delay)
            self.become(restarts=count)

    async def run_once(self) -> tuple[int, str]:
        """Run the process to its end; its exit status, and what to tell of it."""
        try:
            self.process = process.spawn(self.place, self.around.log)
            await self.process.executed()
        except LaunchError as error:
            return NOT_FOUND, str(error)
        except OSError as error:
            return NOT_FOUND, f"can't be started: {error}"
        probed = self.spec.readiness is not None
        self.become(started=True, running=True, ready=not probed, message="")
        async with Tasks() as tasks:
            if self.spec.readiness is not None:
                work = probe.watch(self.spec.readiness, self.check, self.judged)
                tasks.spawn(work, f"readiness of {self.around.title}")
            await tasks.wait(self.process.wait())
        # Before anything else that takes time: nobody shall be sent there now.
        self.become(running=False, ready=False)
        status = self.process.exited.result()
        return status, process.describe_exit(status)

    async def check(self) -> str:
        """One readiness probe."""
        assert self.spec.readiness is not None
        return await self.around.check(self.spec.readiness)

    def judged(self, ready: bool, message: str) -> None:
        """Take a probe's result."""
        if self.process is not None and self.process.running:
            self.become(ready=ready, message=message)

    async def stop(self, grace: float) -> None:
        """End the process, asking first; grace: seconds for it to do so itself."""
        if self.process is not None:
            await process.stop(self.process, grace)
        await cgroups.kill(self.cgroup)
        cgroups.remove(self.cgroup)
