"""The node agent's own API, over a unix socket that only root may use.

``GET /members`` lists; ``POST /members`` with ``{"cgroup": path, "workload":
namespace/name}`` enrols; ``DELETE /members?cgroup=path`` lets go. What is refused
is answered with 400 and ``{"error": text}``.
"""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import Any

from aiohttp import web

from daemon.errors import EnrollError
from daemon.members.homes import Member
from daemon.members.members import Members
from ztunnel_compat.runtime.errors import ListenError

#: Process, user and group (unix(7), SO_PEERCRED).
CREDENTIALS = struct.Struct("=iII")


class MembersApi:
    """Serves the members at a path."""

    def __init__(self, members: Members, path: Path) -> None:
        self.members = members
        self.path = path
        application = web.Application()
        application.router.add_get("/members", self.listed)
        application.router.add_post("/members", self.enroll)
        application.router.add_delete("/members", self.leave)
        self.runner = web.AppRunner(application, access_log=None)

    async def start(self) -> None:
        """Listen, in the place of an earlier process; raises ListenError."""
        await self.runner.setup()
        try:
            self.path.unlink(missing_ok=True)
            await web.UnixSite(self.runner, str(self.path)).start()
            self.path.chmod(0o600)
        except OSError as error:
            raise ListenError(f"can't listen at {self.path}: {error}") from error

    async def close(self) -> None:
        """Stop listening."""
        await self.runner.cleanup()

    async def listed(self, _request: web.Request) -> web.Response:
        """All members."""
        return web.json_response([shown(member) for member in self.members.rows()])

    async def enroll(self, request: web.Request) -> web.Response:
        """Take a cgroup in."""
        try:
            asked = json.loads(await request.text())
            cgroup, workload = Path(asked["cgroup"]), str(asked["workload"])
        except (ValueError, KeyError, TypeError) as error:
            return refused(f"a body with cgroup and workload is wanted: {error!r}")
        try:
            member = await self.members.enroll(cgroup, workload, netns_of_caller(request))
        except EnrollError as error:
            return refused(str(error))
        return web.json_response(shown(member))

    async def leave(self, request: web.Request) -> web.Response:
        """Let a cgroup go."""
        try:
            await self.members.leave(Path(request.query.get("cgroup", "")))
        except EnrollError as error:
            return refused(str(error))
        return web.json_response({})


def netns_of_caller(request: web.Request) -> Path | None:
    """The network namespace of the process at the other end of the socket."""
    if request.transport is None:
        return None
    connection = request.transport.get_extra_info("socket")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    path = Path(f"/proc/{CREDENTIALS.unpack(credentials)[0]}/ns/net")
    return path if path.exists() else None


def shown(member: Member) -> dict[str, Any]:
    """A member for people."""
    return {"cgroup": str(member.cgroup), "workload": member.workload, "uid": member.uid}


def refused(message: str) -> web.Response:
    """The answer to what can't be done."""
    return web.json_response({"error": message}, status=400)
