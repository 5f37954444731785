"""One runner per mesh: a lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.errors import PreflightError


class MeshLock:
    """The right to make and remove what belongs to a mesh."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd

    @classmethod
    def take(cls, config: MeshConfig) -> MeshLock:
        """Take a mesh's lock; raises PreflightError when a live process has it."""
        path = config.lock_file
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.read(fd, 32).decode().strip() or "unknown"
                os.close(fd)
                raise PreflightError(
                    f"mesh {config.name} is already running (process {pid}): stop it first, "
                    "or give this one another name"
                ) from None
            if current(path, fd):
                os.truncate(fd, 0)
                os.write(fd, f"{os.getpid()}\n".encode())
                return cls(path, fd)
            os.close(fd)  # whoever had it removed the file while we waited

    def release(self) -> None:
        """Give the lock back."""
        self.path.unlink(missing_ok=True)
        os.close(self.fd)


def current(path: Path, fd: int) -> bool:
    """Whether the path still is the file that was opened."""
    try:
        return path.stat().st_ino == os.fstat(fd).st_ino
    except FileNotFoundError:
        return False


def runner_pid(config: MeshConfig) -> int | None:
    """The process id of a mesh's runner, or None when none runs."""
    try:
        fd = os.open(config.lock_file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(fd, 32).decode().strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(fd)
    return None
