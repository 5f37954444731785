"""The network namespaces that members are in, where their tunnels begin and end."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bpf.errors import BpfError
from bpf.netns import netns_cookie
from daemon.errors import EnrollError
from daemon.members.cgroups import Cgroups

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Member:
    """A cgroup in the mesh. workload: namespace/name; level: below the cgroups' root."""

    cgroup: Path
    workload: str
    uid: str
    number: int
    level: int


class Tunnels(Protocol):
    """The ends of members' tunnels."""

    def open_member(self, cookie: int, netns_fd: int, uid: str) -> None:
        """Serve a workload, or one again; raises EnrollError, OSError, BpfError."""
        ...

    def close_member(self, cookie: int, uid: str) -> None:
        """Serve it no longer; harmless for who isn't served."""
        ...

    def told(self) -> None:
        """All that there are were opened."""
        ...


class Homes:
    """Where members are: nothing tells of a cgroup's until it has a process.

    Without tunnels a member can't connect to other nodes: the kernel leads it to nobody.
    """

    def __init__(self, cgroups: Cgroups, tunnels: Tunnels) -> None:
        self.cgroups = cgroups
        self.tunnels = tunnels
        #: A netns' cookie and the uid of a workload that is there, by the cgroup's id.
        self.known: dict[int, tuple[int, str]] = {}
        #: Why a member's tunnels aren't served, where that was said.
        self.complaints: dict[int, str] = {}

    @property
    def served(self) -> frozenset[str]:
        """The uids of all whose tunnels are served."""
        return frozenset(uid for _, uid in self.known.values())

    async def serve(self, member: Member, caller: Path | None) -> None:
        """Be there for a member's tunnels; raises EnrollError.

        caller: the netns of who enrols it, which a cgroup without processes is thought to
        be in. None: it was enrolled before, and stays so, even without tunnels.
        """
        if caller is None:
            await self.look(member)
        else:
            await self.open(member, caller)

    async def look(self, member: Member) -> None:
        """Serve one whose processes weren't there before, or whose ports were taken."""
        if member.number in self.known:
            return
        try:
            await self.open(member, None)
        except EnrollError as error:
            if self.complaints.get(member.number) != str(error):
                self.complaints[member.number] = str(error)
                logger.error("%s; it can't connect to other nodes", error)

    async def open(self, member: Member, caller: Path | None) -> None:
        """Have its tunnels served where it is, if that is known; raises EnrollError."""
        home = await asyncio.to_thread(self.cgroups.home, member.cgroup, caller)
        if home is None:
            return
        try:
            cookie = netns_cookie(home)
            self.tunnels.open_member(cookie, home, member.uid)
        except (BpfError, EnrollError, OSError) as error:
            raise EnrollError(f"cgroup {member.cgroup}: no tunnels: {error}") from error
        finally:
            os.close(home)
        before = self.known.get(member.number)
        self.known[member.number] = (cookie, member.uid)
        self.complaints.pop(member.number, None)
        self.close(before)

    def leave(self, member: Member) -> None:
        """It is no member any more."""
        self.complaints.pop(member.number, None)
        self.close(self.known.pop(member.number, None))

    def close(self, place: tuple[int, str] | None) -> None:
        """Serve a workload no longer where none of its cgroups is left."""
        if place is not None and place not in self.known.values():
            self.tunnels.close_member(*place)

    def told(self) -> None:
        """All that were enrolled before are served again."""
        self.tunnels.told()
