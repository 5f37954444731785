"""A plug-in's process as the worker sees it, started anew when it ended.

It answers in the order in which it is asked, one call after the other: so the first
unanswered call is the one that it has begun, and how long that takes is how long ago the
one before it was answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque

from tandem.host.frames import FrameError, encode
from waypoint.errors import PluginError
from waypoint.filters.plugin.allowance import printable
from waypoint.filters.plugin.calls import Answer, Call, Said, Told, ended_with, last_line
from waypoint.filters.plugin.process import Link, Process, start_process
from waypoint.filters.plugin.spec import PluginSpec
from waypoint.filters.plugin.usage import Usage, read_usage, time_left
from ztunnel_compat.runtime.backoff import Backoff
from ztunnel_compat.runtime.tasks import Tasks

logger = logging.getLogger(__name__)

#: Calls that wait for a host, and bytes of them.
MOST_CALLS = 1024
MOST_BYTES = 16 << 20
#: Seconds: until a call has to have begun; for a class to load; for a process to start,
#: and to end once its link is closed.
QUEUE_SECONDS = 1.0
LOAD_SECONDS = 5.0
START_SECONDS = 10.0
END_SECONDS = 1.0
#: Between a process's end and the next one; one that lived for STEADY starts over.
RESTART_FIRST, RESTART_MOST = 0.05, 5.0
STEADY = 10.0
#: How often a process may end before it has begun to load.
TRIES = 3
#: What is in the socket when a call's time is up may be its answer: it is looked at first.
SECOND_LOOK = 0.002


class Host:
    """A process for one version of a plug-in.

    ready: it has loaded; life: counts the processes; queue: calls that it was sent and
    hasn't answered; waiting: calls for when it is ready; bytes: of both.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, tasks: Tasks, spec: PluginSpec, told: Told
    ) -> None:
        self.loop = loop
        self.tasks = tasks
        self.spec = spec
        self.told = told
        self.process: Process | None = None
        self.link: Link | None = None
        self.ready = False
        self.closed = False
        #: Whether this life's load has ended, well or not.
        self.settles = False
        self.life = 0
        self.number = 0
        #: What the process said first, of what it has given up.
        self.first: Said | None = None
        self.queue: deque[Call] = deque()
        self.waiting: deque[Call] = deque()
        self.bytes = 0
        #: What is to be written at the end of this turn.
        self.unsent: list[bytes] = []
        #: When the first of queue began, and what the process had used when the timer was
        #: set.
        self.began = 0.0
        self.usage = Usage()
        self.timer: asyncio.TimerHandle | None = None
        #: Why we ended the process.
        self.reason = ""
        tasks.spawn(self.run(), f"host of {spec.name}")

    # Asking

    def ask(self, said: Said, data: bytes, *, fresh: bool) -> asyncio.Future[Answer]:
        """Call the filter. The answer may be a PluginError."""
        done: asyncio.Future[Answer] = self.loop.create_future()
        call = Call(
            said, data, done, limit=self.spec.timeout, fresh=fresh, now=self.loop.time()
        )
        if self.closed:
            call.fail("isn't there any more")
        elif len(self.queue) + len(self.waiting) >= MOST_CALLS or self.bytes >= MOST_BYTES:
            call.fail("too many calls wait for it")
        elif self.ready:
            self.send(call)
        else:
            self.bytes += len(data)
            self.waiting.append(call)
            self.watch(QUEUE_SECONDS)
        return done

    def tell(self, said: Said) -> None:
        """Tell the process, if there is one, something that has no answer."""
        if self.ready:
            self.write(encode(said))

    def send(self, call: Call) -> None:
        """Write a call to the process."""
        call.said["id"] = self.number + 1
        try:
            frame = encode(call.said, call.data)
        except (TypeError, ValueError, RecursionError) as error:
            call.fail(f"can't be told of the request: {error}")
            return
        self.number += 1
        self.bytes += len(call.data)
        if not self.queue:
            self.began = self.loop.time()
        self.queue.append(call)
        self.write(frame)
        self.watch(call.limit)

    def write(self, frame: bytes) -> None:
        """Write at the end of this turn, together with others."""
        if not self.unsent:
            self.loop.call_soon(self.flush)
        self.unsent.append(frame)

    def flush(self) -> None:
        """Write what this turn brought about."""
        frames, self.unsent = self.unsent, []
        if self.link is not None and self.link.transport is not None:
            self.link.transport.write(b"".join(frames))

    # Answers

    def answered(self, said: Said, data: bytes) -> None:
        """Take an answer; raises KeyError, FrameError for one that nobody asked for."""
        number = said["id"]
        if number == 0 and not self.number:
            self.first = said
            if self.process is not None:
                self.confined(said)
            return
        if not self.queue or self.queue[0].said["id"] != number:
            raise FrameError(f"an answer to {number!r:.20}, which isn't asked")
        call = self.queue.popleft()
        self.bytes -= len(call.data)
        self.began = self.loop.time()
        if "out" in said:
            self.told.printed(said)
        error = said.get("error")
        if error is not None:
            call.fail(last_line(str(error)), str(error))
        elif not call.done.done():
            call.done.set_result((said, data))

    def confined(self, said: Said) -> None:
        """The process has given up what it doesn't need: have it load the class."""
        if "error" in said:
            self.kill(printable(str(said["error"]))[:300])
            return
        missing = [printable(str(each))[:200] for each in said["missing"]]
        level = logging.WARNING if missing and self.life == 1 else logging.INFO
        held = ": " + "; ".join(missing) if missing else ""
        assert self.process is not None
        logger.log(level, "%s runs in process %d%s", self.spec.name, self.process.pid, held)
        spec = self.spec
        load = {
            "do": "load", "key": "", "name": spec.name, "class": spec.class_name,
            "code": spec.code, "entry": spec.entry_point, "config": json.loads(spec.config),
        }  # fmt: skip
        done: asyncio.Future[Answer] = self.loop.create_future()
        done.add_done_callback(self.loaded)
        now = self.loop.time()
        self.send(Call(load, b"", done, limit=LOAD_SECONDS, fresh=False, now=now))

    def loaded(self, done: asyncio.Future[Answer]) -> None:
        """The class is loaded, or can't be."""
        self.settles = True
        error = done.exception()
        if error is not None:
            assert isinstance(error, PluginError)
            self.close()
            self.told.loaded(error)
            return
        self.ready = True
        self.told.loaded(done.result()[0])
        waiting, self.waiting = self.waiting, deque()
        for call in waiting:
            self.bytes -= len(call.data)
            if not call.done.done():
                self.send(call)

    # Time

    def watch(self, seconds: float, *, anew: bool = True) -> None:
        """Look in so many seconds, or earlier; anew: what was used before counts no more."""
        due = self.loop.time() + min(seconds, QUEUE_SECONDS)
        if self.timer is not None:
            if self.timer.when() <= due:
                return
            self.timer.cancel()
        if anew:
            self.usage = self.used()
        self.timer = self.loop.call_at(due, self.look)

    def look(self) -> None:
        """End a process whose call takes too long; give up calls that waited too long."""
        self.timer = None
        now = self.loop.time()
        behind = list(self.queue)[1:]
        for call in (*behind, *self.waiting):
            if now - call.asked >= QUEUE_SECONDS:
                call.fail(f"didn't get to it within {QUEUE_SECONDS:g} s")
        if not self.queue:
            if self.waiting:
                self.watch(QUEUE_SECONDS)
            return
        call = self.queue[0]
        wall = now - self.began
        if wall < call.limit:
            self.watch(call.limit - wall)
            return
        left = time_left(call.limit, wall, self.usage, self.used())
        if left > 0:
            self.watch(left, anew=False)
        elif not call.suspect:
            call.suspect = True
            self.watch(SECOND_LOOK, anew=False)
        else:
            self.kill(f"took longer than {call.limit * 1000:g} ms")

    def used(self) -> Usage:
        """What the process has used."""
        return read_usage(self.process.pid) if self.process is not None else Usage()

    # Lives

    def close(self) -> None:
        """It is needed no more."""
        self.closed = True
        self.kill("isn't there any more")

    async def run(self) -> None:
        """Keep a process until it is closed."""
        backoff = Backoff(RESTART_FIRST, RESTART_MOST)
        ended = "isn't there any more"
        try:
            while not self.closed:
                started = self.loop.time()
                try:
                    ended = await self.once()
                except OSError as error:
                    ended = f"can't be started: {error.strerror}"
                if self.loop.time() - started >= STEADY:
                    backoff.reset()
                # One that ended while it loaded would do so again.
                hopeless = self.number > 0 or self.life >= TRIES
                self.closed = self.closed or (hopeless and not self.settles)
                self.settle(ended)
                if not self.closed:
                    logger.error("%s: its process %s", self.spec.name, ended)
                    await asyncio.sleep(backoff.next())
            if not self.settles:
                self.told.loaded(PluginError(ended))
        finally:
            self.closed = True
            for call in (*self.queue, *self.waiting):
                call.fail("isn't there any more")
            if self.timer is not None:
                self.timer.cancel()

    async def once(self) -> str:
        """One life of a process; how it ended, in words. Raises OSError."""
        self.life += 1
        self.number = 0
        self.first = None
        self.settles = False
        self.reason = ""
        closed: asyncio.Future[None] = self.loop.create_future()
        late = self.loop.call_later(START_SECONDS, self.start_took_too_long)
        try:
            self.link = Link(self.answered, self.kill, closed)
            self.process = await start_process(self.link, self.spec.memory)
            if self.closed:
                self.send_kill()
            elif self.first is not None:
                # It was quicker than who told us that it runs.
                self.confined(self.first)
            await closed
            # It is about to end, and should tell how; one that only let go of its link isn't.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await self.process.wait()
            self.send_kill()
            return self.reason or ended_with(await self.process.wait())
        finally:
            late.cancel()
            self.ready = False
            self.send_kill()
            if self.link is not None and self.link.transport is not None:
                self.link.transport.abort()
            if self.process is not None:
                await self.process.wait()
            self.link = self.process = None

    def start_took_too_long(self) -> None:
        """It should have loaded by now."""
        if not self.number:
            self.kill(f"wasn't ready within {START_SECONDS:g} s")

    def kill(self, reason: str) -> None:
        """End the process; what it has answered by then still counts."""
        self.reason = self.reason or reason
        self.send_kill()

    def send_kill(self) -> None:
        """End the process, if there is one."""
        if self.process is not None:
            self.process.kill()

    def settle(self, ended: str) -> None:
        """A process ended: the call that it had begun failed, others may be asked again."""
        queue, self.queue = self.queue, deque()
        self.unsent.clear()
        again = []
        for index, call in enumerate(queue):
            if index and call.fresh and not call.done.done():
                call.fresh = call.suspect = False
                again.append(call)
                continue
            self.bytes -= len(call.data)
            call.fail(ended if not index else "its process ended, with what it knew")
        self.waiting = deque([*again, *self.waiting])
        if self.waiting:
            self.watch(QUEUE_SECONDS)
