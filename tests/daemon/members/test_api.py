"""The node agent's own socket."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.errors import EnrollError
from daemon.members.api import MembersApi
from daemon.members.members import Member
from deploy.standalone.client import ControlRefusedError, NodeClient


class NotedMembers:
    """Takes anything in but /bad."""

    def __init__(self) -> None:
        self.taken: dict[Path, Member] = {}
        self.callers: list[Path | None] = []

    async def enroll(self, cgroup: Path, workload: str, caller: Path | None) -> Member:
        if cgroup == Path("/bad"):
            raise EnrollError("cgroup /bad: no")
        self.callers.append(caller)
        self.taken[cgroup] = Member(cgroup, workload, "uid", 1, 1)
        return self.taken[cgroup]

    async def leave(self, cgroup: Path) -> None:
        if self.taken.pop(cgroup, None) is None:
            raise EnrollError(f"cgroup {cgroup} is not enrolled")

    def rows(self) -> list[Member]:
        return list(self.taken.values())


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[NotedMembers, Path]]:
    members = NotedMembers()
    path = tmp_path / "members.sock"
    path.touch()  # an earlier process's
    api = MembersApi(members, path)  # type: ignore[arg-type]
    await api.start()
    yield members, path
    await api.close()


async def test_enrolled_listed_and_let_go(served: tuple[NotedMembers, Path]) -> None:
    members, path = served
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    client = NodeClient(path)
    made = await asyncio.to_thread(client.enroll, Path("/c"), "shop/db")
    assert made == {"cgroup": "/c", "workload": "shop/db", "uid": "uid"}
    assert members.callers[0] is not None
    assert members.callers[0].samefile("/proc/self/ns/net")
    assert await asyncio.to_thread(client.members) == [made]
    await asyncio.to_thread(client.unenroll, Path("/c"))
    assert await asyncio.to_thread(client.members) == []


async def test_what_is_refused_says_why(served: tuple[NotedMembers, Path]) -> None:
    client = NodeClient(served[1])
    with pytest.raises(ControlRefusedError, match="cgroup /bad: no"):
        await asyncio.to_thread(client.enroll, Path("/bad"), "shop/db")
    with pytest.raises(ControlRefusedError, match="/c is not enrolled"):
        await asyncio.to_thread(client.unenroll, Path("/c"))
    with pytest.raises(ControlRefusedError, match="cgroup and workload is wanted"):
        await asyncio.to_thread(client._ask, "POST", "/members", "[]")
