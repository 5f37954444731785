"""Named network namespaces, and threads that live in one.

The runner's own threads stay in the machine's netns. What must be done inside
another (make a socket, talk netlink, run nft) is done by a thread that entered
it for good: sockets and child processes belong to the netns of the thread that
made them.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from deploy.standalone.config import NETNS_DIR
from deploy.standalone.runner import launch
from deploy.standalone.runner.errors import NetworkError

T = TypeVar("T")

#: Two processes must not both make the folder a mount of its own.
FOLDER = threading.Lock()


def path(name: str) -> Path:
    """Where a named netns is."""
    return NETNS_DIR / name


@contextmanager
def opened(name: str) -> Iterator[int]:
    """A file descriptor of a named netns, for a while."""
    fd = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def created(name: str, record: Path) -> Iterator[None]:
    """Make a named netns and run the calling thread in it, for a while.

    record: a folder that tells, to whoever cleans up after us, that it is ours.
    Raises NetworkError when the name is taken. The netns stays when the block
    ends, unless it fails.
    """
    prepare_folder()
    try:
        path(name).touch(mode=0o444, exist_ok=False)
    except FileExistsError:
        raise NetworkError(f"network namespace {name} exists already") from None
    record.mkdir(parents=True, exist_ok=True)
    (record / name).touch()
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        launch.unshare(launch.CLONE_NEWNET)
        try:
            launch.mount("/proc/thread-self/ns/net", str(path(name)), launch.MS_BIND)
            yield
        finally:
            launch.setns(home)
    except BaseException:
        delete(name, record)
        raise
    finally:
        os.close(home)


def prepare_folder() -> None:
    """Make /run/netns as `ip netns` does: a shared mount.

    Shared, so that other mount namespaces drop a netns when we delete it.
    """
    with FOLDER:
        NETNS_DIR.mkdir(exist_ok=True)
        folder = str(NETNS_DIR)
        try:
            launch.mount("none", folder, launch.MS_SHARED | launch.MS_REC)
        except OSError:  # not a mount of its own yet
            launch.mount(folder, folder, launch.MS_BIND | launch.MS_REC)
            launch.mount("none", folder, launch.MS_SHARED | launch.MS_REC)


def delete(name: str, record: Path) -> bool:
    """Remove a named netns and what is recorded of it; False when there was none."""
    found = path(name).exists()
    if found:
        try:
            launch.umount(str(path(name)))
        except OSError:  # the name alone was left
            pass
        path(name).unlink(missing_ok=True)
    (record / name).unlink(missing_ok=True)
    return found


def recorded(record: Path) -> list[str]:
    """The names in a record of what was made."""
    return sorted(p.name for p in record.iterdir()) if record.is_dir() else []


class NetnsThread:
    """One thread inside a netns, which calls functions there one after the other."""

    def __init__(self, name: str) -> None:
        self.pool = ThreadPoolExecutor(
            1, thread_name_prefix=name, initializer=self.enter, initargs=(name,)
        )

    def enter(self, name: str) -> None:
        """Move this thread into the netns for good."""
        fd = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
        launch.setns(fd)
        os.close(fd)

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a function in the netns, without blocking the loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, function, *arguments)

    def close(self) -> None:
        """End the thread once what it is doing is done."""
        self.pool.shutdown(wait=False, cancel_futures=True)
