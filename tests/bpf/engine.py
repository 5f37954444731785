"""A loaded L4 engine for tests: its own cgroup, its own pins, gone at the end."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bpf import bpffs, mounts
from bpf.addresses import family, mapped
from bpf.codecs import U64, Codec, K, V, codec
from bpf.knobs import Knobs
from bpf.layout import (
    ActiveKey,
    Address,
    AddressKey,
    AddressKind,
    Counter,
    Endpoint,
    EndpointKey,
    Flow,
    FlowKey,
    Guard,
    LocalAddress,
    Peer,
    PeerQuery,
    Pod,
    Port,
    PortKey,
)
from bpf.links import attach_pod, detach_pod
from bpf.loader import load, unload
from bpf.maps import Maps
from bpf.tables import Entries, PinnedTable
from tests.support.netns import Netns

PREFIX = "tandem-test-bpf"
SMALL = Knobs(pods=64, addresses=256, ports=256, endpoints=4096, flows=4096)
#: An endpoint that the alias table always keeps.
KEEP = 0xFFFFFFFF
CLIENT, SERVER, WAYPOINT, SERVICE = 0xC11E47, 0x5E47E4, 0x3A7901, 0x5E471CE


@dataclass(frozen=True)
class Place:
    """Where an engine may live: a directory of pins and a cgroup, both fresh."""

    pin_dir: Path
    cgroup: Path

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """This process is in the cgroup, so that its sockets are."""
        before = next(
            line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines()
            if line.startswith("0::")
        )  # fmt: skip
        join(self.cgroup)
        try:
            yield
        finally:
            join(cgroup_root() / before.lstrip("/"))


@dataclass
class Engine:
    """A loaded engine and the shortest ways to fill its maps."""

    place: Place
    maps: Maps
    generation: int = 0
    sets: dict[tuple[int, int, int], Port] = field(default_factory=dict)
    attached: set[str] = field(default_factory=set)

    @cached_property
    def active(self) -> PinnedTable[ActiveKey, int]:
        """Open connections of endpoints, which the programs alone know of."""
        return PinnedTable(self.place.pin_dir / "maps" / "active", codec(ActiveKey), U64)

    @cached_property
    def accelerated(self) -> PinnedTable[FlowKey, bytes]:
        """What the programs keep of accelerated connections, by pair_of() of the flow."""
        path = self.place.pin_dir / "maps" / "accelerated"
        return PinnedTable(path, codec(FlowKey), Codec(64, bytes, bytes))

    def close(self) -> None:
        """Close the maps; what they hold stays."""
        self.maps.close()
        for name in ("active", "accelerated"):
            if name in self.__dict__:
                getattr(self, name).close()

    def enroll(
        self,
        pod: Netns,
        workload: int = CLIENT,
        waypoint: int = 0,
        *,
        namespace: int = 0,
        flags: int = 0,
    ) -> None:
        """Enrol a namespace, its sk_lookup link included."""
        record = Pod(workload, waypoint, namespace=namespace, flags=flags)
        self.maps.pods.put(pod.cookie, record)
        for address in filter(None, (pod.v4, pod.v6)):
            if self.maps.guards.get(LocalAddress(packed(address))) is None:
                self.maps.guards.put(LocalAddress(packed(address)), Guard(workload))
        attach_pod(self.place.pin_dir, f"test/{pod.cookie}", pod.fd)
        self.attached.add(f"test/{pod.cookie}")

    def workload(
        self,
        address: str,
        name: int = SERVER,
        waypoint: int = 0,
        identity_port: int = 0,
        flags: int = 0,
    ) -> None:
        """Make an address a workload's."""
        value = Address(name, waypoint, AddressKind.WORKLOAD, flags)
        self.maps.addresses.put(AddressKey(packed(address)), value)
        self.maps.guards.put(LocalAddress(packed(address)), Guard(name, 0, identity_port))

    def vip(
        self,
        address: str,
        name: int = SERVICE,
        waypoint: int = 0,
        *,
        flags: int = 0,
        affinity: int = 0,
        namespace: int = 0,
    ) -> None:
        """Make an address a service's."""
        value = Address(name, waypoint, AddressKind.SERVICE, flags, affinity)
        self.maps.addresses.put(AddressKey(packed(address), namespace), value)

    def port(
        self,
        number: int,
        endpoints: Sequence[tuple[str, int]],
        name: int = SERVICE,
        weights: Sequence[int] = (),
        *,
        workload: int = 0,
        flags: int = 0,
    ) -> None:
        """Give a service a port, in each family; replaces the set as a push does.

        weights: of the endpoints of each family, in their order; none: all the same.
        workload, flags: of all of the endpoints.
        """
        for kind in (4, 6):
            mine = [e for e in endpoints if family(packed(e[0])) == kind]
            mine.sort(key=lambda endpoint: (packed(endpoint[0]), endpoint[1]))
            table = alias_table(weights) if weights and mine else [(KEEP, 0)] * len(mine)
            self.generation += 1
            for index, (address, port) in enumerate(mine):
                key = EndpointKey(self.generation, index)
                keep, alias = table[index]
                made = Endpoint(packed(address), port, flags, keep, alias, workload)
                self.maps.endpoints.put(key, made)
            record = Port(self.generation, len(mine))
            old = self.sets.get((name, number, kind))
            self.maps.ports.put(PortKey(name, number, kind), record)
            self.sets[name, number, kind] = record
            for index in range(old.count if old else 0):
                assert old is not None
                self.maps.endpoints.delete(EndpointKey(old.generation, index))

    def clear(self) -> None:
        """Empty every map but the counters and limits; let go of the namespaces."""
        maps = self.maps
        while self.attached:
            detach_pod(self.place.pin_dir, self.attached.pop())
        empty(maps.pods)
        empty(maps.members)
        empty(maps.addresses)
        empty(maps.ranges)
        empty(maps.ports)
        empty(maps.endpoints)
        empty(maps.guards)
        empty(maps.listeners)
        empty(maps.member_guards)
        empty(maps.flows)
        empty(self.active)
        empty(self.accelerated)
        empty(maps.nameservers)
        empty(maps.sticky)
        empty(maps.replies)
        maps.member_levels.put(0, 0)
        empty(maps.chunks)
        empty(maps.chunk_identities)
        empty(maps.chunk_sources)
        empty(maps.chunk_destinations)
        empty(maps.chunk_ports)
        for hit, _ in list(maps.hits.items()):
            maps.hits.delete(hit)
        for key, _sums in list(maps.traffic.items()):
            maps.traffic.take(key)
        while maps.events.skip(1024):
            pass
        self.sets.clear()

    @contextlib.contextmanager
    def counts(self) -> Iterator[dict[Counter, int]]:
        """What was counted in a with block, filled in at its end; zeros left out."""
        found: dict[Counter, int] = {}
        before = self.maps.counters()
        yield found
        after = self.maps.counters()
        found.update({c: after[c] - before[c] for c in Counter if after[c] != before[c]})

    def flow(
        self, client: socket.socket, server: tuple[str, int], netns: int = 0
    ) -> Flow | None:
        """The flow entry of a client's connection to a server's real address."""
        own = client.getsockname()
        key = FlowKey(packed(own[0]), packed(server[0]), own[1], server[1], netns)
        return self.maps.flows.get(key)


def alias_table(weights: Sequence[int]) -> list[tuple[int, int]]:
    """(keep, alias) of each endpoint, by Vose's method."""
    total, count = sum(weights), len(weights)
    left = [weight * count / total for weight in weights]
    table = [(KEEP, index) for index in range(count)]
    small = [index for index in range(count) if left[index] < 1]
    large = [index for index in range(count) if left[index] >= 1]
    while small and large:
        poor, rich = small.pop(), large[-1]
        table[poor] = (int(left[poor] * (1 << 32)), rich)
        left[rich] -= 1 - left[poor]
        if left[rich] < 1:
            small.append(large.pop())
    return table


def empty(table: Entries[K, V]) -> None:
    """Delete every entry."""
    for key, _value in list(table.items()):
        table.delete(key)


def packed(address: str) -> bytes:
    """An address as the maps hold it."""
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    return mapped(socket.inet_pton(kind, address))


def peer(accepted: socket.socket) -> Peer:
    """The peer query."""
    level, option = PeerQuery.LEVEL, PeerQuery.OPTION
    return Peer.unpack(accepted.getsockopt(level, option, Peer.SIZE))


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until a condition holds; it must within seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition never held"
        os.sched_yield()


def cgroup_root() -> Path:
    """Where cgroup v2 is mounted."""
    return next(mount.point for mount in mounts.current() if mount.kind == "cgroup2")


def join(cgroup: Path) -> None:
    """Move this process to a cgroup."""
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))


@contextlib.contextmanager
def place(name: str) -> Iterator[Place]:
    """A fresh place for an engine; what dead test runs left is removed first."""
    sweep()
    unique = f"{PREFIX}-{os.getpid()}-{name}"
    made = Place(bpffs.MOUNT_POINT / unique / "node", cgroup_root() / unique)
    made.cgroup.mkdir()
    try:
        yield made
    finally:
        unload(made.pin_dir)
        bpffs.remove(made.pin_dir.parent)
        eventually(lambda: removed(made.cgroup))


@contextlib.contextmanager
def engine(name: str, knobs: Knobs = SMALL) -> Iterator[Engine]:
    """A loaded engine, with this process in its cgroup."""
    with place(name) as where:
        load(where.pin_dir, where.cgroup, knobs)
        made = Engine(where, Maps.open(where.pin_dir))
        try:
            with where.joined():
                yield made
        finally:
            made.close()


def removed(cgroup: Path) -> bool:
    """Remove a cgroup and those below it, if their last processes are gone."""
    try:
        for folder, _, _ in os.walk(cgroup, topdown=False):
            Path(folder).rmdir()
    except OSError:
        return False
    return True


def sweep() -> None:
    """Remove what killed test runs left."""
    for left in [*bpffs.MOUNT_POINT.glob(f"{PREFIX}-*"), *cgroup_root().glob(f"{PREFIX}-*")]:
        if Path("/proc", left.name.removeprefix(f"{PREFIX}-").split("-")[0]).exists():
            continue
        if left.parent == bpffs.MOUNT_POINT:
            unload(left / "node")
            bpffs.remove(left)
        else:
            removed(left)
