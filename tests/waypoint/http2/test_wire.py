"""What a stream may hold here, when its source sends all it may and nobody takes it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.attacks.fuzz import Fuzzed, Server2, Wired, asked
from tests.waypoint.mesh import Mesh, running, service
from tests.waypoint.wire import request
from tests.ztunnel_compat.h2.ends import End
from waypoint.http2.wire import BOUND, HELD, QUEUE, READ, WINDOW
from ztunnel_compat.h2.codes import Role
from ztunnel_compat.h2.connection import Settings
from ztunnel_compat.model import AppProtocol

#: A peer that gives no credit, but for the first bytes that the protocol lets all have.
CLOSED = Settings(stream_window=65_535, connection_window=65_535)
FREE = 65_535
#: Room for a message's head.
HEAD = 300


class Full(Wired):
    """A transport of which nothing is ever written out."""

    def __init__(self) -> None:
        super().__init__()
        self.held = 0
        self.high = 0
        self.paused = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high
        self.high = high

    def write(self, data: Any) -> None:
        super().write(data)
        self.held += len(data)
        if self.held > self.high and not self.paused:
            self.paused = True
            self.protocol.pause_writing()


class Ends(Fuzzed):
    """One stream through a waypoint; its endpoint and its client as they are."""

    def __init__(self, mesh: Mesh, *, client2: bool, server2: bool) -> None:
        super().__init__(mesh, random.Random(1))
        self.http2_server = server2
        self.client2 = client2
        self.tape = Wired()
        self.server_tape: Any = None
        self.end = End(Role.CLIENT, CLOSED)
        self.end.consume = False

    async def connect(self, factory: Any, _host: str, _port: int) -> Any:
        tape: Any = Full() if not self.http2_server else Wired()
        self.server_tape = tape
        protocol = tape.protocol = factory()
        protocol.connection_made(tape)
        if self.http2_server:
            server = Server2(tape, list, sound=False)
            server.end = End(Role.SERVER, CLOSED)
            server.end.consume = False
            self.servers.append(server)
        return tape, protocol

    async def ask(self, *, body: bool) -> None:
        """Begin a request; body: of which more is to come."""
        tape = self.join_full()
        if self.client2:
            self.end.connection.request(asked(b"/", method=b"POST"), end=not body)
            tape.protocol.data_received(self.end.take())
        else:
            framing = ["Transfer-Encoding: chunked"] if body else []
            tape.protocol.data_received(request("/", *framing, method="POST"))
        await self.exchange()

    def join_full(self) -> Wired:
        """The client's connection: in HTTP/1.1 it reads nothing, in HTTP/2 gives no credit."""
        tape = self.join()
        if not self.client2:
            full = Full()
            full.set_write_buffer_limits(high=self.mesh.worker.limits.write_buffer)
            full.protocol = tape.protocol
            tape.protocol.transport = full
            tape = full
        self.tape = tape
        return tape

    async def press(self, tape: Wired, *, to_http2: bool) -> int:
        """Read from an end in HTTP/1.1 until it is told to stop, at the worst moment: when
        what waits is just short of too much. The bytes that it sent.
        """
        short = QUEUE if to_http2 else self.mesh.worker.limits.write_buffer - HEAD
        sent = 0
        sizes = [FREE, short] if to_http2 else [short]
        while "pause" not in tape.take():
            size = sizes.pop(0) if sizes else READ
            tape.protocol.data_received(bytes(size))
            sent += size
            assert sent < 4 * HELD
            await self.exchange()
        return sent

    async def exchange(self) -> None:
        """Let everything go where it goes."""
        for _ in range(6):
            await asyncio.sleep(0)
            if self.client2:
                self.end.connection.receive(self.tape.written())
                if data := self.end.take():
                    self.tape.protocol.data_received(data)
            for server in self.servers:
                assert isinstance(server, Server2)
                server.end.connection.receive(server.tape.written())
                if data := server.end.take():
                    server.tape.protocol.data_received(data)


def take(end: End, stream: Any, total: int) -> None:
    """Queue as much as a source has, which is more than anybody takes."""
    for _ in range(total // 65536):
        if stream.queued < 128 * 1024:
            end.connection.send_data(stream, bytes(65536))


@pytest.mark.parametrize("server2", [False, True], ids=["from HTTP/1.1", "from HTTP/2"])
@pytest.mark.parametrize("client2", [False, True], ids=["to HTTP/1.1", "to HTTP/2"])
async def test_a_response_that_nobody_takes(client2: bool, server2: bool) -> None:
    async with running() as mesh:
        speaks = AppProtocol.HTTP2 if server2 else AppProtocol.HTTP11
        mesh.push(service("web", speaks=speaks))
        mesh.pod("web-1", "web", 9)
        mesh.ask("web")
        ends = Ends(mesh, client2=client2, server2=server2)
        await ends.ask(body=False)
        sent = 0
        if server2:
            (server,) = ends.servers
            assert isinstance(server, Server2)
            stream = server.end.connection.streams[1]
            server.end.connection.respond(stream, [(b":status", b"200")])
            for _ in range(40):
                take(server.end, stream, 65536)
                await ends.exchange()
            sent = stream.sent
        else:
            ends.server_tape.protocol.data_received(
                b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"
            )
            ends.server_tape.take()
            sent = await ends.press(ends.server_tape, to_http2=client2)
        assert sent + FREE >= READ
        held = sent - (FREE if client2 else 0)
        assert 0 < held <= HELD
        if not client2:
            assert isinstance(ends.tape, Full)
            assert ends.tape.held <= HELD
        finish(ends)


@pytest.mark.parametrize("server2", [False, True], ids=["to HTTP/1.1", "to HTTP/2"])
@pytest.mark.parametrize("client2", [False, True], ids=["from HTTP/1.1", "from HTTP/2"])
async def test_a_request_that_nobody_takes(client2: bool, server2: bool) -> None:
    async with running() as mesh:
        speaks = AppProtocol.HTTP2 if server2 else AppProtocol.HTTP11
        mesh.push(service("web", speaks=speaks))
        mesh.pod("web-1", "web", 9)
        mesh.ask("web")
        ends = Ends(mesh, client2=client2, server2=server2)
        await ends.ask(body=True)
        sent = 0
        if client2:
            stream = ends.end.connection.streams[1]
            for _ in range(40):
                take(ends.end, stream, 65536)
                await ends.exchange()
            sent = stream.sent
        else:
            ends.tape.protocol.data_received(b"ffffff\r\n")
            ends.tape.take()
            sent = await ends.press(ends.tape, to_http2=server2)
        held = sent - (FREE if server2 else 0)
        assert 0 < held <= HELD
        finish(ends)


def finish(ends: Ends) -> None:
    """Both connections end."""
    ends.tape.protocol.connection_lost(None)
    ends.server_tape.closing = True
    ends.server_tape.protocol.connection_lost(None)


def test_the_parts_make_the_whole() -> None:
    assert QUEUE + max(WINDOW, READ) <= HELD < BOUND
