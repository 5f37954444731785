"""Bookinfo's services as real processes, each on a free port."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import deploy

SAMPLE = Path(deploy.__file__).parent / "samples" / "bookinfo"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class App:
    process: subprocess.Popen[str]
    port: int

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: str | None = None,
        host: str = "127.0.0.1",
        **headers: str,
    ) -> Reply:
        connection = HTTPConnection(host, self.port, timeout=10)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=names)
            reply = connection.getresponse()
            return Reply(reply.status, dict(reply.getheaders()), reply.read())
        finally:
            connection.close()


class Apps:
    """Starts services and ends them."""

    def __init__(self) -> None:
        self._started: list[App] = []

    def start(self, program: str, cwd: Path = SAMPLE, **env: str) -> App:
        process = subprocess.Popen(
            [sys.executable, program],
            cwd=cwd,
            env={**os.environ, "PORT": "0", **env},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "listens on port" in line, line
        app = App(process, int(line.split()[-1]))
        self._started.append(app)
        return app

    def close(self) -> None:
        for app in self._started:
            app.process.terminate()
        for app in self._started:
            app.process.communicate(timeout=10)
