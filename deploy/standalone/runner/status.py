"""How pods are, and telling it to the control plane."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from deploy.standalone.runner.errors import ControlError
from deploy.standalone.runner.spec import PodKey
from ztunnel_compat.runtime.backoff import Backoff

logger = logging.getLogger(__name__)

RETRY_FROM, RETRY_TO = 0.05, 1.0


@dataclass(frozen=True)
class ContainerState:
    """A container at one moment; exit_status: of the last run, when none runs."""

    started: bool = False
    running: bool = False
    ready: bool = False
    restarts: int = 0
    finished: bool = False
    exit_status: int = 0
    message: str = ""


@dataclass(frozen=True)
class PodStatus:
    """A pod at one moment, as the control plane wants it."""

    namespace: str
    name: str
    uid: str
    node: str
    ips: tuple[str, ...] = ()
    phase: str = "Pending"
    ready: bool = False
    restarts: int = 0
    message: str = ""

    @property
    def key(self) -> PodKey:
        """What names the pod."""
        return self.namespace, self.name

    def body(self) -> dict[str, Any]:
        """The JSON body of a status PUT."""
        fields = asdict(self)
        del fields["namespace"], fields["name"]
        return fields


def pod_phase(containers: Sequence[ContainerState]) -> str:
    """Kubernetes' phase of a pod with these containers."""
    if containers and all(c.finished for c in containers):
        failed = any(c.exit_status for c in containers)
        return "Failed" if failed else "Succeeded"
    return "Running" if any(c.started for c in containers) else "Pending"


class StatusSink(Protocol):
    """Where statuses go."""

    async def put_status(self, status: PodStatus) -> bool:
        """Tell how a pod is; raises ControlError."""

    async def synced(self, node: str) -> None:
        """Tell that all pods of a node were told of; raises ControlError."""


class StatusReporter:
    """Sends each pod's newest status, and all of them again to a new control process.

    What changes while a status waits is not sent: only the newest is. So there
    is never more waiting than there are pods.
    """

    def __init__(self, sink: StatusSink, nodes: Sequence[str]) -> None:
        self.sink = sink
        self.nodes = nodes
        self.current: dict[PodKey, PodStatus] = {}
        self.waiting: dict[PodKey, None] = {}
        self.unsynced: dict[str, None] = {}
        self.wake = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self.backoff = Backoff(RETRY_FROM, RETRY_TO)

    def report(self, status: PodStatus) -> None:
        """Take a pod's status."""
        if self.current.get(status.key) != status:
            self.current[status.key] = status
            self.want(status.key)

    def forget(self, key: PodKey) -> None:
        """A pod is gone: there is nothing more to say of it."""
        self.current.pop(key, None)
        self.waiting.pop(key, None)

    def send_all(self) -> None:
        """A new control process knows nothing yet."""
        self.unsynced = dict.fromkeys(self.nodes)
        for key in self.current:
            self.waiting[key] = None
        self.want(None)

    def want(self, key: PodKey | None) -> None:
        """There is something to send."""
        if key is not None:
            self.waiting[key] = None
        self.idle.clear()
        self.wake.set()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            await self.wake.wait()
            self.wake.clear()
            try:
                await self.send()
                self.backoff.reset()
            except ControlError as error:
                logger.debug("statuses wait: %s", error)
                self.wake.set()
                await asyncio.sleep(self.backoff.next())
            else:
                if not self.waiting and not self.unsynced:
                    self.idle.set()

    async def send(self) -> None:
        """Send what waits; raises ControlError with the rest still waiting."""
        while self.waiting:
            key = next(iter(self.waiting))
            status = self.current[key]
            if not await self.sink.put_status(status):
                logger.debug("pod %s/%s is unknown to the control plane", *key)
            if self.current.get(key) in (status, None):
                self.waiting.pop(key, None)
        while self.unsynced:
            node = next(iter(self.unsynced))
            await self.sink.synced(node)
            self.unsynced.pop(node, None)
