"""Connections without sockets: what a protocol does to its transport, written down."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.waypoint.mesh import HTTP_PORT, Mesh
from waypoint.downstream import Downstream
from waypoint.upstream import Upstream
from waypoint.worker import Caller
from ztunnel_compat.peer import parse_peer


class Tape(asyncio.Transport):
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[bytes | str] = []
        self.closing = False
        self.unsent = 0

    def take(self) -> list[bytes | str]:
        """What was noted since the last look."""
        notes, self.notes = self.notes, []
        return notes

    def write(self, data: Any) -> None:
        self.notes.append(bytes(data))

    def write_eof(self) -> None:
        self.notes.append("eof")

    def pause_reading(self) -> None:
        self.notes.append("pause")

    def resume_reading(self) -> None:
        self.notes.append("resume")

    def close(self) -> None:
        self.closing = True
        self.notes.append("close")

    def abort(self) -> None:
        self.closing = True
        self.notes.append("abort")

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"sockname": ("10.0.0.9", 5000), "socket": self}.get(name, default)

    def setsockopt(self, *_option: object) -> None:
        self.notes.append("linger")


def join_client(mesh: Mesh) -> tuple[Downstream, Tape]:
    """A client's connection, admitted for what the mesh is asked for."""
    answer = mesh.answer()
    assert answer is not None
    peer = parse_peer(answer)
    target = mesh.worker.targets.find(peer)
    assert target is not None
    tape = Tape()
    downstream = Downstream(mesh.worker, Caller(peer, "spiffe://x", "vip client -"), target)
    downstream.connection_made(tape)
    return downstream, tape


def join_server(mesh: Mesh) -> tuple[Upstream, Tape]:
    """An idle connection in the pool of the only endpoint of what is asked for."""
    cluster = next(
        c for c in mesh.worker.targets.clusters.clusters.values()
        if c.port == HTTP_PORT and c.balance.endpoints
    )  # fmt: skip
    (endpoint,) = cluster.balance.endpoints
    tape = Tape()
    upstream = Upstream(mesh.worker, endpoint)
    upstream.connection_made(tape)
    assert endpoint.give(upstream)
    return upstream, tape
