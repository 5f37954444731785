"""Owned background work: nothing runs unseen, and no failure goes unnoticed."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Tasks:
    """The background tasks of one owner; the only user of asyncio.create_task.

    A task that raises is a bug or a lost foundation, not something to carry on
    from: it is logged at once and ``wait`` raises it, so that the process ends
    and is restarted. Expected failures are handled inside the task.
    """

    def __init__(self) -> None:
        self.running: set[asyncio.Task[Any]] = set()
        self.failure: BaseException | None = None
        self.failed = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run work beside everything else; name appears in logs."""
        task = asyncio.create_task(work, name=name)
        self.running.add(task)
        task.add_done_callback(self.finished)
        return task

    def finished(self, task: asyncio.Task[Any]) -> None:
        """Forget a task that ended, remember the first failure."""
        self.running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        logger.error("%s failed: %s", task.get_name(), error, exc_info=error)
        if self.failure is None:
            self.failure = error
            self.failed.set()

    async def wait(self, until: Coroutine[Any, Any, Any] | None = None) -> None:
        """Return when until is done (never, without one); raise the first failure."""
        failed = asyncio.create_task(self.failed.wait(), name="failure")
        waiting: set[asyncio.Task[Any]] = {failed}
        if until is not None:
            waiting.add(asyncio.create_task(until, name="until"))
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(waiting)
        if self.failure is not None:
            raise self.failure
        for task in done:
            task.result()

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        await cancel(self.running)


async def cancel(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until each has ended, however it ends."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


async def until_signal() -> signal.Signals:
    """Wait for SIGTERM or SIGINT, and take it; the signal that came."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[signal.Signals] = loop.create_future()

    def take(number: signal.Signals) -> None:
        if not came.done():
            came.set_result(number)

    wanted = (signal.SIGTERM, signal.SIGINT)
    for number in wanted:
        loop.add_signal_handler(number, take, number)
    try:
        return await came
    finally:
        for number in wanted:
            loop.remove_signal_handler(number)
