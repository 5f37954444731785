"""Clients of the control plane's and the node agents' APIs, over their unix sockets.

Blocking, for the command line and for programs that drive a mesh from outside.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

# More than the longest poll that a caller asks for: what takes longer is stuck.
TIMEOUT = 30.0


class ControlError(Exception):
    """Base: ControlUnreachableError (nothing answers), ControlRefusedError (it said no)."""


class ControlUnreachableError(ControlError):
    """Nothing answers on the socket: no mesh, or its control plane is starting again."""

    def __init__(self, path: Path, cause: BaseException) -> None:
        super().__init__(f"nothing answers at {path}: {cause}")
        self.path = path


class ControlRefusedError(ControlError):
    """The control plane understood and refused; the message is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Table:
    """What `tandem get` shows: column names, and one tuple of texts per object."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def records(self) -> list[dict[str, str]]:
        """Each row as a mapping from its column's name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Applied:
    """What became of one object: `object` as kind/namespace/name, `result` in one word."""

    object: str
    result: str


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


class UnixClient:
    """Asks a process of the mesh. Every method raises `ControlError`."""

    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        self._path = path
        self._timeout = timeout

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        connection = _UnixConnection(self._path, self._timeout)
        try:
            connection.request(method, path, None if body is None else body.encode())
            reply = connection.getresponse()
            content = reply.read()
        except (OSError, HTTPException) as error:
            raise ControlUnreachableError(self._path, error) from error
        finally:
            connection.close()
        if reply.status >= 400:
            raise ControlRefusedError(reply.status, _message(reply.status, content))
        return json.loads(content)


class NodeClient(UnixClient):
    """Asks a node's agent for what has no place in the mesh's files."""

    def members(self) -> list[dict[str, str]]:
        """The enrolled cgroups: `cgroup`, `workload` (namespace/name) and `uid` of each."""
        answer: list[dict[str, str]] = self._ask("GET", "/members")
        return answer

    def enroll(self, cgroup: Path, workload: str) -> dict[str, str]:
        """Have a cgroup's processes count as a workload, namespace/name."""
        asked = {"cgroup": str(cgroup), "workload": workload}
        answer: dict[str, str] = self._ask("POST", "/members", json.dumps(asked))
        return answer

    def unenroll(self, cgroup: Path) -> None:
        """Take a cgroup out of the mesh."""
        self._ask("DELETE", f"/members?{urlencode({'cgroup': str(cgroup)})}")


class ControlClient(UnixClient):
    """Asks one mesh's control plane."""

    def table(self, kind: str) -> Table:
        """Return the table of a kind, as `tandem get` lists it."""
        answer = self._ask("GET", f"/v1/get/{kind}")
        rows = tuple(tuple(_text(cell) for cell in row) for row in answer["rows"])
        return Table(tuple(str(column) for column in answer["columns"]), rows)

    def snapshot(self, version: str = "", wait: float = 0.0) -> dict[str, Any]:
        """Return pods and services; with a `version`, wait up to `wait` seconds for another."""
        asked: Mapping[str, object] = {"version": version, "wait": wait} if version else {}
        answer: dict[str, Any] = self._ask("GET", f"/v1/snapshot?{urlencode(asked)}")
        return answer

    def apply(self, text: str, file: Path | None = None) -> list[Applied]:
        """Create or change the objects of a YAML text; all of them or none.

        file: where the text is from, for messages and relative working directories.
        """
        return _applied(self._ask("POST", f"/v1/apply{_from(file)}", text))

    def delete(self, text: str, file: Path | None = None) -> list[Applied]:
        """Delete the objects that a YAML text names."""
        return _applied(self._ask("POST", f"/v1/delete{_from(file)}", text))

    def rotate_root(self) -> dict[str, Any]:
        """Begin to change the mesh's root; the trusted ones, and when it goes on."""
        answer: dict[str, Any] = self._ask("POST", "/v1/roots/rotate")
        return answer

    def dump(self) -> dict[str, Any]:
        """Return what the control plane knows: services, workloads, objects, errors."""
        answer: dict[str, Any] = self._ask("GET", "/v1/dump")
        return answer


def _from(file: Path | None) -> str:
    return "" if file is None else "?" + urlencode({"file": str(file.resolve())})


def _applied(answer: Mapping[str, Any]) -> list[Applied]:
    return [Applied(each["object"], each["result"]) for each in answer["results"]]


def _text(cell: object) -> str:
    return "" if cell is None else str(cell)


def _message(status: int, content: bytes) -> str:
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return content.decode("utf-8", "replace").strip() or f"HTTP status {status}"
