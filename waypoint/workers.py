"""Several processes that serve, and their parent, which doesn't.

Each is a waypoint of its own, with its own stream from the control plane; they share the
ports (SO_REUSEPORT), between which the kernel spreads connections evenly, and the buckets
of rate limits, which outlive each of them. The parent
starts them, starts again what ended, and answers for all of them on the admin ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web

from waypoint.config import ADMIN_SOCKET, BUCKETS, Config
from waypoint.filters.local_limit.shared import make_buckets
from waypoint.metrics.pages import metrics_server
from waypoint.metrics.parent import Numbers
from ztunnel_compat.runtime.admin import Admin
from ztunnel_compat.runtime.backoff import Backoff
from ztunnel_compat.runtime.tasks import Tasks, until_signal

logger = logging.getLogger(__name__)

COMMAND: Final = (sys.executable, "-m", "waypoint")
#: Between a worker's end and the next one in its place; a worker that lived for STEADY
#: seconds starts over.
RESTART_FIRST, RESTART_MOST = 0.2, 15.0
STEADY: Final = 10.0
#: What workers may take to end after SIGTERM, beyond their own drain time.
PATIENCE: Final = 45.0
#: For a worker to answer what its parent asks.
ANSWER: Final = aiohttp.ClientTimeout(total=5.0)
#: linux/prctl.h
PR_SET_PDEATHSIG: Final = 1


class Worker:
    """One of the processes, or the place of one. number: from 0; path: where it is asked.

    reason: why it isn't there, while it isn't; starts: how often it was started.
    """

    def __init__(self, number: int, path: Path) -> None:
        self.number = number
        self.path = path
        self.process: Process | None = None
        self.reason = "starting"
        self.starts = 0

    async def get(self, page: str) -> tuple[int, str]:
        """A page of its: status and text; 503 and why when it doesn't answer."""
        if self.process is None:
            return 503, self.reason
        try:
            connector = aiohttp.UnixConnector(str(self.path))
            async with (
                aiohttp.ClientSession(connector=connector, timeout=ANSWER) as session,
                session.get(f"http://worker{page}") as response,
            ):
                return response.status, await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 503, "doesn't answer"


class Workers:
    """Keeps so many processes alive; command and environment: what they are; files: open
    ones of ours that they get.
    """

    def __init__(
        self,
        count: int,
        folder: Path,
        environment: Mapping[str, str],
        command: Sequence[str] = COMMAND,
        files: Sequence[int] = (),
    ) -> None:
        self.files = files
        self.workers = [Worker(number, folder / f"{number}.sock") for number in range(count)]
        self.environment = environment
        self.command = command
        self.ending = False

    async def keep(self, worker: Worker) -> None:
        """Start a worker, and again whenever it ended, until the end."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(RESTART_FIRST, RESTART_MOST)
        while not self.ending:
            started = loop.time()
            status = await self.once(worker)
            if self.ending:
                return
            if loop.time() - started >= STEADY:
                backoff.reset()
            delay = backoff.next()
            worker.reason = f"ended with status {status}"
            logger.error("worker %d ended with status %d", worker.number, status)
            await asyncio.sleep(delay)

    async def once(self, worker: Worker) -> int:
        """One life of a worker; its exit status."""
        worker.path.unlink(missing_ok=True)
        environment = {**self.environment, ADMIN_SOCKET: str(worker.path)}
        # A signal for our group is for us; who gets it twice ends at once.
        process = await asyncio.create_subprocess_exec(
            *self.command, env=environment, start_new_session=True, pass_fds=self.files
        )
        worker.starts += 1
        worker.process = process
        if self.ending:
            # The end came between, and didn't find it.
            process.terminate()
        logger.info("worker %d is process %d", worker.number, process.pid)
        try:
            return await process.wait()
        finally:
            worker.process = None

    async def end(self, seconds: float) -> None:
        """Have all of them end in an orderly way, and those that don't at once."""
        self.ending = True
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.gone()
        self.signal(signal.SIGKILL)
        await self.gone()

    async def gone(self) -> None:
        """Wait until none is left."""
        running = [w.process for w in self.workers if w.process is not None]
        await asyncio.gather(*(process.wait() for process in running))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all there are."""
        for worker in self.workers:
            if worker.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    worker.process.send_signal(number)

    def starts(self) -> int:
        """How many were started so far."""
        return sum(worker.starts for worker in self.workers)

    async def ask(self, page: str) -> list[tuple[int, str]]:
        """A page of each worker."""
        return list(await asyncio.gather(*(worker.get(page) for worker in self.workers)))


class ParentAdmin(Admin):
    """The admin ports, answered for all workers."""

    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self.workers = workers

    async def healthz(self, request: web.Request) -> web.Response:
        """200 when all are ready, else 503 and what is missing."""
        answers = await self.workers.ask("/healthz/ready")
        missing = [
            f"worker {number}: {text.strip().removeprefix('not ready: ')}"
            for number, (status, text) in enumerate(answers)
            if status != 200
        ]
        self.unready = self.unready if self.workers.ending else "; ".join(missing)
        return await super().healthz(request)

    async def page(self, request: web.Request) -> web.Response:
        """The page of each worker: ``workers``, by their numbers."""
        answers = await self.workers.ask(request.path)
        content: dict[str, Any] = {}
        for worker, (status, text) in zip(self.workers.workers, answers, strict=True):
            if status == 404:
                return web.Response(status=404, text=text)
            content[str(worker.number)] = json.loads(text) if status == 200 else {"error": text}
        body = await asyncio.to_thread(json.dumps, {"workers": content}, indent=2)
        return web.json_response(text=body + "\n")


async def supervise(config: Config) -> None:
    """Have so many workers serve until SIGTERM or SIGINT, then drain. Raises ProcessError."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="waypoint-"))
        tasks = await stack.enter_async_context(Tasks())
        buckets = make_buckets().descriptor
        environment = {**os.environ, BUCKETS: str(buckets)}
        workers = Workers(config.workers, Path(folder), environment, files=(buckets,))
        admin = ParentAdmin(workers)
        stack.push_async_callback(admin.close)
        await admin.start()
        numbers = Numbers(workers.ask, workers.starts)
        metrics = metrics_server(numbers.source)
        stack.push_async_callback(metrics.close)
        await metrics.start()
        stack.push_async_callback(workers.end, PATIENCE)
        tasks.spawn(numbers.run(), "metrics")
        for worker in workers.workers:
            tasks.spawn(workers.keep(worker), f"worker {worker.number}")
        await tasks.wait(until_signal())
        admin.unready = "draining"
        await workers.end(PATIENCE)
        logger.info("stopped")


def end_with_parent() -> None:
    """Have the kernel end this process as SIGTERM would when its parent is gone.

    Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl: {os.strerror(number)}")
