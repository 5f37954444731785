"""One version of a plug-in, and whether it is loaded."""

from __future__ import annotations

import asyncio
import logging
from enum import StrEnum

from waypoint.errors import PluginError
from waypoint.filters.plugin.allowance import Allowance, printable
from waypoint.filters.plugin.calls import Said, Told
from waypoint.filters.plugin.host import Host
from waypoint.filters.plugin.spec import PluginSpec
from ztunnel_compat.runtime.tasks import Tasks

logger = logging.getLogger(__name__)

#: Lines that a plug-in prints and failures of it that are shown: a second, and at once.
LINES = (20.0, 100.0)
TRACES = (0.2, 5.0)
LONGEST = 400
#: Seconds until what couldn't be loaded is tried again, when it is asked for.
RETRY = 10.0


class State(StrEnum):
    """How far a version is."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class Version:
    """A spec, and the process that it is loaded in.

    error: why it is FAILED; since: when that came out; settled: set while it isn't
    LOADING; sessions: requests under way with it; failures: calls that failed; hooks,
    bodies, body_limit: what its class defines; wanted: it is configured still.
    """

    __slots__ = (
        "bodies", "body_limit", "error", "failures", "hooks", "host", "lines", "loop",
        "numbers", "sessions", "settled", "since", "spec", "state", "tasks", "traces", "wanted",
    )  # fmt: skip

    def __init__(self, spec: PluginSpec, loop: asyncio.AbstractEventLoop, tasks: Tasks) -> None:
        self.spec = spec
        self.loop = loop
        self.tasks = tasks
        self.settled = asyncio.Event()
        self.error = ""
        self.since = 0.0
        self.wanted = True
        self.sessions = 0
        self.numbers = 0
        self.failures = 0
        self.hooks: frozenset[str] = frozenset()
        self.bodies: frozenset[str] = frozenset()
        self.body_limit = 0
        self.lines = Allowance(*LINES)
        self.traces = Allowance(*TRACES)
        self.load()

    def load(self) -> None:
        """Load it, in a new process."""
        self.state = State.LOADING
        self.settled.clear()
        told = Told(self.loaded, self.printed)
        self.host = Host(self.loop, self.tasks, self.spec, told)

    def loaded(self, said: Said | PluginError) -> None:
        """The process has said what came of it, after its first start or a later one."""
        first, self.since = not self.settled.is_set(), self.loop.time()
        if isinstance(said, PluginError):
            self.state = State.FAILED
            self.error = str(said)
            if self.wanted:
                logger.error("%s can't be loaded: %s", self.spec.name, said)
                self.show(said.trace)
        else:
            self.hooks = frozenset(map(str, said["hooks"]))
            self.bodies = frozenset(map(str, said["bodies"]))
            self.body_limit = int(said["body_limit"])
            self.state = State.READY
            self.error = ""
            if first:
                logger.info("%s is loaded: %s", self.spec.name, ", ".join(sorted(self.hooks)))
        self.settled.set()

    def asked(self) -> None:
        """Somebody wants it: what couldn't be loaded may have another try."""
        if self.state is State.FAILED and self.loop.time() - self.since >= RETRY:
            self.load()

    def failed(self, error: PluginError) -> None:
        """A call failed: tell, at a bounded rate."""
        self.failures += 1
        if not self.traces.take(self.loop.time()):
            return
        missed = self.traces.missed()
        more = f" ({missed} more since the last that was shown)" if missed else ""
        logger.error("%s failed: %s%s", self.spec.name, error, more)
        self.show(error.trace)

    def show(self, trace: str) -> None:
        """Log where in the plug-in's code something happened."""
        for line in trace.splitlines():
            logger.error("%s:   %s", self.spec.name, printable(line)[:LONGEST])

    def printed(self, said: Said) -> None:
        """Log what it printed."""
        now = self.loop.time()
        for line in said["out"]:
            if self.lines.take(now):
                logger.info("%s: %s", self.spec.name, printable(str(line))[:LONGEST])
        dropped = int(said.get("dropped", 0)) + self.lines.missed()
        if dropped and self.lines.take(now):
            logger.info("%s: (%d lines more)", self.spec.name, dropped)

    def dump(self) -> dict[str, object]:
        """How it is, JSON-able."""
        process = self.host.process
        return {
            "state": self.state.value,
            "error": self.error,
            "hooks": sorted(self.hooks),
            "process": process.pid if process is not None else None,
            "processes": self.host.life,
            "failures": self.failures,
            "requests": self.sessions,
        }
