from __future__ import annotations

import socket
from pathlib import Path

import pytest
from aiohttp import web

from deploy.standalone.control.api.server import serve
from deploy.standalone.control.errors import ConfigError


async def test_a_dead_processes_socket_is_taken_over_and_a_living_ones_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    runner = await serve(web.Application(), path)
    try:
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(ConfigError, match="another control plane answers there"):
            await serve(web.Application(), path)
    finally:
        await runner.cleanup()


async def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be listened on"):
        await serve(web.Application(), tmp_path / "none" / "control.sock")
