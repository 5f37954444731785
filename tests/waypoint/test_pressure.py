"""What a waypoint under load still takes on, and what it tells those whom it refuses."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.attacks.rig import frames_of, headers, opening
from tests.attacks.rig import head as head_of
from tests.waypoint.mesh import Mesh, running, service, until
from tests.waypoint.wire import Peer, client, dial, ok, request, upstream
from waypoint import pressure
from waypoint.overload import Level
from waypoint.pressure import Pressure, limits_above, watch
from waypoint.worker import Limits
from ztunnel_compat.h2.codes import DATA, GOAWAY, HEADERS
from ztunnel_compat.h2.decoder import Decoder


@dataclass
class Memory:
    """What the process has, as the test says; trimmed: after each attempt to give back."""

    now: int = 0
    trimmed: list[int] = field(default_factory=list)
    trims: int = 0

    def resident(self) -> int:
        return self.now

    def trim(self) -> None:
        self.trims += 1
        if self.trimmed:
            self.now = self.trimmed.pop(0)


def pressed(mesh: Mesh) -> tuple[Pressure, Memory]:
    memory = Memory()
    return Pressure(mesh.worker, 100, resident=memory.resident, trim=memory.trim), memory


def level(mesh: Mesh) -> Level:
    return mesh.worker.level


def serve(mesh: Mesh, port: int) -> None:
    mesh.push(service("web"))
    mesh.pod("web-1", "web", port)
    mesh.ask("web")


async def test_what_is_under_way_ends_well_and_what_is_new_is_told_503() -> None:
    go_on = asyncio.Event()

    async def waits(peer: Peer) -> None:
        while True:
            await peer.head()
            await go_on.wait()
            await peer.send(ok())

    async with running() as mesh, upstream(waits) as server:
        serve(mesh, server.port)
        look, memory = pressed(mesh)
        async with client(mesh) as first, client(mesh) as second, client(mesh) as third:
            await third.send(opening())
            await first.send(request())
            await until(lambda: mesh.worker.active == 1)
            memory.now = 95
            look.look()
            assert level(mesh) is Level.FULL
            head, body = await second.get()
            assert head.startswith(b"http/1.1 503 ")
            assert b"\r\nx-envoy-local-overloaded: true\r\n" in head
            assert b"\r\nconnection: close\r\n" in head
            assert body == b"envoy overloaded"
            assert await second.rest() == b""
            await third.send(headers(1, *head_of()))
            told, body = await shed_in_http2(third)
            assert (told[b":status"], body) == (b"503", b"envoy overloaded")
            assert told[b"x-envoy-local-overloaded"] == b"true"
            assert mesh.worker.active == 1
            refused = await dial(mesh)
            with pytest.raises(ConnectionResetError):
                await refused.rest()
            go_on.set()
            assert (await first.response())[1] == b"hello"
            memory.now = 50
            look.look()
            assert level(mesh) is Level.CALM
        async with client(mesh) as peer:
            assert (await peer.get())[0].startswith(b"http/1.1 200 ")
        stats = mesh.worker.stats
        assert (stats.local["overload"], stats.refused) == (2, {"overload": 1})
        assert stats.levels == {"full": 1, "calm": 1}
        assert sum(" 503 OM overload " in line for line in await mesh.lines(4)) == 2


async def shed_in_http2(peer: Peer) -> tuple[dict[bytes, bytes], bytes]:
    """The answer on stream 1, and that the client was told to go elsewhere."""
    said = b""
    async with asyncio.timeout(5):
        while not {(k, s) for k, _, s, _ in frames_of(said)} >= {(DATA, 1), (GOAWAY, 0)}:
            data = await peer.reader.read(65536)
            assert data
            said += data
    found = {kind: payload for kind, _, stream, payload in frames_of(said) if stream == 1}
    return dict(Decoder(1000).decode(found[HEADERS])), found[DATA]


async def test_one_request_at_a_time_goes_through_whatever_memory_says() -> None:
    """What the allocator keeps locks nobody out."""
    async with running() as mesh, upstream() as server:
        serve(mesh, server.port)
        look, memory = pressed(mesh)
        memory.now = 99
        look.look()
        async with client(mesh) as peer:
            for _ in range(3):
                assert (await peer.get())[0].startswith(b"http/1.1 200 ")


async def test_requests_are_limited_one_by_one() -> None:
    async def never(peer: Peer) -> None:
        await peer.rest()

    async with running(Limits(requests=2)) as mesh, upstream(never) as server:
        serve(mesh, server.port)
        async with client(mesh) as one, client(mesh) as two, client(mesh) as three:
            for peer in (one, two):
                await peer.send(request())
            await until(lambda: mesh.worker.active == 2)
            assert (await three.get())[0].startswith(b"http/1.1 503 ")
            one.reset()
            await until(lambda: mesh.worker.active == 1)
            async with client(mesh) as four:
                await four.send(request())
                await until(lambda: mesh.worker.active == 2)


async def test_a_crowd_cuts_the_times_of_who_does_nothing() -> None:
    async with running(Limits(idle=15.0, connections=10)) as mesh, upstream() as server:
        serve(mesh, server.port)
        look, _ = pressed(mesh)
        peers = [await dial(mesh) for _ in range(9)]
        for peer in peers:
            await peer.get()
        assert mesh.worker.connections == 9
        look.look()
        assert level(mesh) is Level.TIGHT
        for peer in peers:
            assert await peer.rest() == b""
            await peer.close()
        await until(lambda: not mesh.worker.connections)
        look.look()
        assert level(mesh) is Level.CALM


async def test_what_was_freed_is_given_back_first(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as mesh:
        look, memory = pressed(mesh)
        memory.now, memory.trimmed = 96, [50]
        look.look()
        assert (mesh.worker.level, memory.trims) == (Level.CALM, 1)
        memory.now = 96
        with caplog.at_level(logging.INFO):
            look.look()
            look.look()
        assert (mesh.worker.level, memory.trims) == (Level.FULL, 1)
        # Once, not at each look.
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("overloaded, new requests get 503")
        assert "96% of memory" in caplog.messages[0]


def test_the_tightest_cgroup_counts(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    (tmp_path / "a" / "memory.max").write_text("1000\n")
    assert limits_above(tmp_path, "/a/b") == [1000]
    (inner / "memory.max").write_text("300\n")
    assert limits_above(tmp_path, "/a/b") == [300, 1000]
    assert limits_above(tmp_path, "/") == []


async def test_the_real_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure, "LOOK", 0.01)
    async with running() as mesh:
        made = watch(mesh.worker, 50, 2)
        assert made.limit <= pressure.memory_there_is() // 4
        assert 0 < made.resident() < made.limit
        made.trim()
        made.limit = made.resident() // 2
        looking = asyncio.create_task(made.run())
        await until(lambda: mesh.worker.level is Level.FULL)
        looking.cancel()
