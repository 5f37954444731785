"""A pair of sockets that the engine accelerates, and what it knows of it."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from dataclasses import astuple, dataclass

from bpf import elements, kernel
from bpf.layout import Address, AddressFlag, AddressKey, AddressKind, FlowKey, Pod, PodFlag
from tests.bpf.engine import CLIENT, SERVER, Engine, packed
from tests.support.netns import Netns

PORT = 8080
#: struct accelerated_end of maps.h.
END = struct.Struct("=QQQII")


@dataclass(frozen=True)
class End:
    """One direction, by its sender."""

    sent: int
    sent_cost: int
    read_cost: int
    write_seq: int
    passed_on: int


@dataclass(frozen=True)
class Accelerated:
    """Both ends of a connection; their state is read anew at each look."""

    mesh: Engine
    client: socket.socket
    server: socket.socket

    @property
    def lower_first(self) -> list[socket.socket]:
        """The ends, as order_pair() orders them."""
        return sorted(
            [self.client, self.server],
            key=lambda end: struct.unpack("=QQ", packed(end.getsockname()[0])),
        )

    @property
    def key(self) -> bytes:
        """The connection's entry."""
        lower, higher = (end.getsockname()[:2] for end in self.lower_first)
        return FlowKey(packed(lower[0]), packed(higher[0]), lower[1], higher[1]).pack()

    def ends(self) -> tuple[End, End]:
        """The client's and the server's end."""
        raw = dict(entries(self.mesh))[self.key]
        found = [End(*fields) for fields in END.iter_unpack(raw)]
        if self.lower_first[0] is self.server:
            found.reverse()
        return found[0], found[1]

    def write(self, clients: End, servers: End) -> None:
        """Put another state in its place."""
        both = [clients, servers]
        if self.lower_first[0] is self.server:
            both.reverse()
        raw = b"".join(END.pack(*astuple(end)) for end in both)
        with kernel.pinned(self.mesh.place.pin_dir / "maps" / "accelerated") as fd:
            elements.update(fd, self.key, raw, "accelerated")


def pair_of(key: FlowKey) -> FlowKey:
    """A flow's connection by its lower end, as order_pair() names it."""
    ends = ((key.source, key.source_port), (key.destination, key.destination_port))
    lower, higher = sorted(ends, key=lambda end: (*struct.unpack("=QQ", end[0]), end[1]))
    return FlowKey(lower[0], higher[0], lower[1], higher[1], key.netns)


def entries(mesh: Engine) -> list[tuple[bytes, bytes]]:
    """All accelerated connections that the engine holds."""
    with kernel.pinned(mesh.place.pin_dir / "maps" / "accelerated") as fd:
        return list(elements.entries(fd, kernel.map_info(fd, "accelerated"), "accelerated"))


def accelerate(mesh: Engine, client: Netns, server: Netns) -> None:
    """Fill the maps as for two pods that ask for acceleration."""
    mesh.enroll(client)
    mesh.maps.pods.put(client.cookie, Pod(CLIENT, flags=PodFlag.ACCELERATE))
    flags = AddressFlag.LOCAL | AddressFlag.ACCELERATE
    for address in (server.v4, server.v6):
        value = Address(SERVER, 0, AddressKind.WORKLOAD, flags)
        mesh.maps.addresses.put(AddressKey(packed(address)), value)


@contextlib.contextmanager
def connection(
    mesh: Engine, client: Netns, server: Netns, family: int = socket.AF_INET
) -> Iterator[Accelerated]:
    """A connection whose ends are both in the map before a byte is sent."""
    with server.listen(server.address(family), PORT) as listener:
        s = client.open_socket(family)
        s.connect((server.address(family), PORT))
        accepted, _ = listener.accept()
    accepted.settimeout(10)
    with s, accepted:
        yield Accelerated(mesh, s, accepted)
