"""The API's unix socket."""

from __future__ import annotations

import socket
from pathlib import Path

from aiohttp import web

from deploy.standalone.control.errors import ConfigError


async def serve(application: web.Application, path: Path) -> web.AppRunner:
    """Listen at path, which only root may use; raises ConfigError when it can't be had.

    The socket of a process that was killed is taken over, one in use is not.
    """
    take_over(path)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.UnixSite(runner, path).start()
        restrict(path)
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(f"{path}: can't be listened on: {error}") from error
    return runner


def take_over(path: Path) -> None:
    """Remove a dead process's socket; raises ConfigError when it is alive."""
    if in_use(path):
        raise ConfigError(f"{path}: another control plane answers there; end it first")
    path.unlink(missing_ok=True)


def restrict(path: Path) -> None:
    """Let only root connect."""
    path.chmod(0o600)


def in_use(path: Path) -> bool:
    """Whether somebody accepts connections at a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
