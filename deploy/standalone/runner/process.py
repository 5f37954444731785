"""A child process that was put in its place by the launcher."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from deploy.standalone.runner import launch
from deploy.standalone.runner.errors import LaunchError

LAUNCHER = launch.__file__


@dataclass(frozen=True)
class Launch:
    """What the launcher is told: a place, and what to become there.

    binds: (source, target) of files that are seen instead of the machine's.
    keep: variables that are taken over from the environment of the caller.
    """

    argv: tuple[str, ...]
    cgroup: str
    netns: str
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"
    hostname: str = ""
    binds: tuple[tuple[str, str], ...] = ()
    keep: tuple[str, ...] = ()
    session: bool = False
    report: int | None = None
    parent: int | None = None

    def command(self) -> list[str]:
        """The command line that does it."""
        return [sys.executable, "-I", "-S", LAUNCHER, json.dumps(asdict(self))]


class Process:
    """A running child. Its exit status is an exit code, or minus a signal's number."""

    def __init__(self, child: subprocess.Popen[bytes], report: int) -> None:
        loop = asyncio.get_running_loop()
        self.child = child
        self.pid = child.pid
        self.exited: asyncio.Future[int] = loop.create_future()
        self.reported: asyncio.Future[str] = loop.create_future()
        self.message = b""
        self.pidfd = os.pidfd_open(child.pid)
        loop.add_reader(self.pidfd, self.reap)
        os.set_blocking(report, False)
        loop.add_reader(report, self.read_report, report)

    def reap(self) -> None:
        """Take the exit status; called when the kernel says that it ended."""
        asyncio.get_running_loop().remove_reader(self.pidfd)
        os.close(self.pidfd)
        self.exited.set_result(self.child.wait())

    def read_report(self, report: int) -> None:
        """Take what the launcher says; the end of it means that it executed, or ended."""
        block = os.read(report, 4096)
        self.message += block
        if not block:
            asyncio.get_running_loop().remove_reader(report)
            os.close(report)
            self.reported.set_result(self.message.decode(errors="replace").strip())

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self.exited.done()

    async def wait(self) -> int:
        """The exit status, once it has ended."""
        return await asyncio.shield(self.exited)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""
        if self.running:
            signal.pidfd_send_signal(self.pidfd, number)

    async def executed(self) -> None:
        """Wait until the launcher became the command; raises LaunchError if it can't."""
        message = await asyncio.shield(self.reported)
        if message:
            await self.wait()
            raise LaunchError(message)


def spawn(place: Launch, log: Path, fds: tuple[int, ...] = ()) -> Process:
    """Start a process whose output goes to the end of a log file.

    fds: file descriptors that it has too, under the same numbers.
    Call it from the thread of the event loop: children end with that thread.
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    told = replace(place, report=theirs, parent=os.getpid(), session=True)
    try:
        with log.open("ab") as output:
            child = subprocess.Popen(
                told.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs, *fds),
            )
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return Process(child, ours)


async def start(place: Launch, log: Path) -> Process:
    """Start a process and wait until it executes its command.

    Raises LaunchError with the reason when it can't.
    """
    process = spawn(place, log)
    await process.executed()
    return process


async def stop(process: Process, grace: float) -> None:
    """Ask a process to end, and kill it when it hasn't after grace seconds."""
    process.send(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), grace)
    except TimeoutError:
        process.send(signal.SIGKILL)
        await process.wait()


def describe_exit(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"exited with status {status}"


def tail(log: Path, lines: int = 8) -> Sequence[str]:
    """The last lines of a log."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 8192))
            return stream.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
