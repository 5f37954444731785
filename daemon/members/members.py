"""The cgroups that are members of the mesh on this node."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

from bpf.codecs import U64
from bpf.errors import MapFullError
from bpf.layout import Listener
from bpf.maps import Maps
from daemon.desired import Desired
from daemon.errors import EnrollError
from daemon.members.homes import Homes, Member
from daemon.policies.keeper import Keeper
from daemon.program import Programmer
from daemon.reconcile import reconcile
from daemon.scope import Scope
from ztunnel_compat.model import Workload
from ztunnel_compat.names import name_hash, pod_uid, workload_entry_uid

logger = logging.getLogger(__name__)

#: Seconds between two looks at whether the cgroups are there still.
PERIOD: Final = 2.0


class Members:
    """Takes cgroups in and lets them go; one at a time.

    record: a file that remembers them, so that they are members again after a
    restart of this process, whatever became of the kernel's maps. Until then an
    earlier process's entries stay in force. tell: the control plane, of the uids of all
    whose tunnels are served, once those of an earlier process are among them. disown:
    deletes the flows of a workload, by its hash: without hooks nothing tells of their end,
    and they would speak for who gets their ports next.
    """

    def __init__(
        self,
        *,
        cluster: str,
        maps: Maps,
        desired: Desired,
        programmer: Programmer,
        keeper: Keeper,
        homes: Homes,
        record: Path,
        tell: Callable[[frozenset[str]], None],
        disown: Callable[[int], Awaitable[None]],
    ) -> None:
        self.cluster = cluster
        self.maps = maps
        self.desired = desired
        self.programmer = programmer
        self.keeper = keeper
        self.homes = homes
        self.cgroups = homes.cgroups
        self.record = record
        self.tell = tell
        self.disown = disown
        self.members: dict[int, Member] = {}
        self.recalled = False
        self.lock = asyncio.Lock()
        keeper.members_netns = self.namespaces

    async def run(self, ready: asyncio.Event) -> None:
        """Take in what was enrolled before, then let go of cgroups that end, for ever."""
        await ready.wait()
        await self.recall()
        while True:
            for member in list(self.members.values()):
                if not same_cgroup(member):
                    logger.info("cgroup %s is gone", member.cgroup)
                    await self.leave(member.cgroup)
            async with self.lock:
                for member in self.members.values():
                    await self.homes.look(member)
                self.announce()
            await asyncio.sleep(PERIOD)

    async def enroll(self, cgroup: Path, workload: str, caller: Path | None = None) -> Member:
        """Have a cgroup's processes count as a workload; raises EnrollError.

        Its guard stands before any hook tells of what it listens on, and its tunnels are
        served before any leads to them. A cgroup that is a member becomes another
        workload's. caller: the netns of who asks.
        """
        async with self.lock:
            number, level = self.cgroups.identify(cgroup)
            found = self.find(workload)
            self.check_nesting(cgroup)
            member = Member(cgroup, workload, found.uid, number, level)
            before = self.members.get(number)
            if before is not None and before.uid != member.uid:
                await self.forget(before)
                before = None
            if before is None:
                await self.keeper.enroll_member(found.uid)
            self.members[number] = member
            try:
                await self.homes.serve(member, caller)
                self.write(member, found)
                await asyncio.to_thread(self.cgroups.attach, cgroup, caller)
                for port in await asyncio.to_thread(self.cgroups.listened, cgroup):
                    self.maps.listeners.put(Listener(port), name_hash(found.uid))
            except (EnrollError, MapFullError) as error:
                await self.forget(member)
                raise EnrollError(str(error)) from error
            await self.remember()
            self.announce()
            logger.info("cgroup %s is %s", cgroup, found.uid)
            return member

    def announce(self) -> None:
        """Have the control plane know who is reached by HBONE."""
        if self.recalled:
            self.tell(self.homes.served)

    async def leave(self, cgroup: Path) -> None:
        """Let a cgroup go; raises EnrollError if it is no member. Connections go on.

        But for its tunnels: these are broken off.
        """
        async with self.lock:
            for member in self.members.values():
                if member.cgroup == cgroup:
                    await self.forget(member)
                    await self.remember()
                    self.announce()
                    logger.info("cgroup %s is no member any more", cgroup)
                    return
        raise EnrollError(f"cgroup {cgroup} is not enrolled")

    def namespaces(self, uid: str) -> list[int]:
        """The network namespaces of a member workload's processes, as open files."""
        homes = [
            self.cgroups.home(m.cgroup) for m in list(self.members.values()) if m.uid == uid
        ]
        return [home for home in homes if home is not None]

    def find(self, workload: str) -> Workload:
        """The workload of this namespace/name; raises EnrollError."""
        namespace, _, name = workload.partition("/")
        for uid in (
            workload_entry_uid(self.cluster, namespace, name),
            pod_uid(self.cluster, namespace, name),
        ):
            found = self.desired.state.workload(uid)
            if found is not None:
                return found
        raise EnrollError(
            f"workload {workload}: the control plane knows no WorkloadEntry or pod of that "
            "name; apply one first"
        )

    def check_nesting(self, cgroup: Path) -> None:
        """One hook is enough: raises EnrollError where a member is around or below."""
        for member in self.members.values():
            if cgroup in member.cgroup.parents or member.cgroup in cgroup.parents:
                raise EnrollError(
                    f"cgroup {cgroup}: {member.cgroup} is enrolled already, and one is in "
                    "the other"
                )

    def write(self, member: Member, workload: Workload) -> None:
        """Make the kernel see a member; raises MapFullError."""
        scope = Scope()
        identity = workload.identity
        self.desired.enroll(member.number, member.uid, scope, identity, table="members")
        self.program(scope)

    async def forget(self, member: Member) -> None:
        """Take a member out of the hooks and the maps."""
        self.members.pop(member.number, None)
        await asyncio.to_thread(self.cgroups.detach, member.number)
        scope = Scope()
        self.desired.dismiss(member.number, scope, table="members")
        self.program(scope)
        # The kernel sends it nothing any more.
        self.homes.leave(member)
        await self.disown(name_hash(member.uid))
        await self.keeper.dismiss_member(member.uid)
        if not any(other.uid == member.uid for other in self.members.values()):
            self.unlisten(name_hash(member.uid))
        if not self.members:
            await asyncio.to_thread(self.cgroups.release)

    def unlisten(self, workload: int) -> None:
        """Guard none of a workload's ports any more."""
        for key, bound in list(self.maps.listeners.items()):
            if bound == workload:
                self.maps.listeners.delete(key)

    def program(self, scope: Scope) -> None:
        """Bring the kernel's map of members up to date; raises MapFullError.

        The levels come first where they grow: a member that is looked for in vain
        costs a look, one that isn't looked for is nobody.
        """
        for group in reconcile(self.programmer.programmed, self.desired.content, scope):
            self.programmer.apply(group)
        levels = 0
        for member in self.members.values():
            levels |= 1 << min(member.level, 31)
        self.maps.member_levels.put(0, levels)

    async def recall(self) -> None:
        """Take in again what the record says; what can't be is said and forgotten."""
        rows = await asyncio.to_thread(read_record, self.record)
        for row in rows:
            try:
                await self.enroll(Path(row["cgroup"]), row["workload"])
            except (EnrollError, KeyError) as error:
                logger.error("enrolled before, not now: %s", error)
        stale = {U64.unpack(key) for key in self.programmer.programmed.members}
        for number in stale - self.members.keys():
            scope = Scope()
            self.desired.dismiss(number, scope, table="members")
            self.program(scope)
        for number in await asyncio.to_thread(self.cgroups.attached) - self.members.keys():
            await asyncio.to_thread(self.cgroups.detach, number)
        if rows:
            await self.remember()
        self.recalled = True
        self.homes.told()
        self.announce()

    async def remember(self) -> None:
        """Write the record."""
        rows = [{"cgroup": str(m.cgroup), "workload": m.workload} for m in self.rows()]
        await asyncio.to_thread(write_record, self.record, rows)

    def rows(self) -> Iterable[Member]:
        """The members by their cgroups' paths."""
        return sorted(self.members.values(), key=lambda member: member.cgroup)


def same_cgroup(member: Member) -> bool:
    """Whether a member's cgroup is there still, and not another of its name."""
    try:
        return member.cgroup.stat().st_ino == member.number
    except OSError:
        return False


def read_record(path: Path) -> list[dict[str, str]]:
    """What a record says; nothing if there is none, or none that can be read."""
    try:
        rows: list[dict[str, str]] = json.loads(path.read_text())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        logger.error("%s: can't be read, no cgroup is enrolled again: %s", path, error)
        return []
    return rows


def write_record(path: Path, rows: list[dict[str, str]]) -> None:
    """Replace a record in one step."""
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(rows, indent=2) + "\n")
    scratch.replace(path)
