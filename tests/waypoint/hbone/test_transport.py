"""A stream as a transport, between two ends of our own over real TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from tests.daemon.tunnel.pki import client_context, server_context, who
from tests.waypoint.mesh import until
from waypoint.hbone.connection import QUEUE_HIGH, QUEUE_LOW, HboneConnection
from waypoint.hbone.dial import Ask
from waypoint.hbone.transport import FIN_TIMEOUT, StreamTransport
from waypoint.sockets import reset
from ztunnel_compat.h2.codes import Role
from ztunnel_compat.h2.streams import Stream
from ztunnel_compat.hbone import Headers
from ztunnel_compat.session.settings import STREAM_WINDOW

MIB = 1 << 20


class Noted(asyncio.Protocol):
    """Notes what it is told. half: it goes on after the far side's end."""

    def __init__(self, half: bool = True) -> None:
        self.half = half
        self.data = bytearray()
        self.ended = False
        self.lost: list[Exception | None] = []
        self.pauses: list[str] = []
        self.fails: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        if self.fails is not None:
            raise self.fails
        self.data += data

    def eof_received(self) -> bool:
        self.ended = True
        return self.half

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)

    def pause_writing(self) -> None:
        self.pauses.append("pause")

    def resume_writing(self) -> None:
        self.pauses.append("resume")


class Link:
    """A connection with both its ends; served: the server's streams."""

    client: HboneConnection

    def __init__(self) -> None:
        self.servers: list[HboneConnection] = []
        self.served: list[StreamTransport] = []

    async def open(self) -> tuple[StreamTransport, StreamTransport]:
        """A stream's two ends, both without a protocol yet."""
        ask = Ask(self.client)
        ask.stream = self.client.request(
            [(b":method", b"CONNECT"), (b":authority", b"1.2.3.4:80")], ask
        )
        near = await ask.answer
        return near, self.served[-1]

    async def joined(self, half: bool = True) -> tuple[Noted, Noted]:
        """A stream's two ends, each with a protocol that reads."""
        made = []
        for transport in await self.open():
            protocol = Noted(half)
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
            transport.resume_reading()
            made.append(protocol)
        return made[0], made[1]


@asynccontextmanager
async def link() -> AsyncIterator[Link]:
    loop = asyncio.get_running_loop()
    both = Link()

    class Server(HboneConnection):
        def on_request(self, stream: Stream, headers: Headers, end: bool) -> None:
            extra = {"peername": self.transport.get_extra_info("peername")}
            both.served.append(StreamTransport(self, stream, extra))
            self.respond(stream, [(b":status", b"200")])

    def serve() -> HboneConnection:
        both.servers.append(Server(lambda _: None, Role.SERVER))
        return both.servers[-1]

    server = await loop.create_server(serve, "127.0.0.1", 0, ssl=server_context(who("server")))
    port = server.sockets[0].getsockname()[1]
    _, client = await loop.create_connection(
        lambda: HboneConnection(lambda _: None),
        "127.0.0.1",
        port,
        ssl=client_context(who("client")),
        server_hostname="",
    )
    both.client = client
    try:
        yield both
    finally:
        client.abort("the test is over")
        server.close()
        await until(lambda: all(each.closed for each in both.servers))


async def test_bytes_go_both_ways_in_order() -> None:
    async with link() as both:
        near, far = await both.joined()
        near.transport.writelines([b"one ", b"two ", bytearray(b"three")])
        far.transport.write(memoryview(b"four"))
        await until(lambda: near.data == b"four" and far.data == b"one two three")


async def test_an_end_each_way_then_close() -> None:
    async with link() as both:
        near, far = await both.joined()
        near.transport.write(b"x" * MIB)
        near.transport.write_eof()
        await until(lambda: far.ended)
        assert len(far.data) == MIB
        with pytest.raises(RuntimeError, match="after write_eof"):
            near.transport.write(b"more")
        far.transport.write(b"bye")
        far.transport.close()
        await until(lambda: near.ended and far.lost == [None])
        assert near.data == b"bye"
        near.transport.close()
        await until(lambda: near.lost == [None])
        assert not both.client.http.open_streams
        await until(lambda: not both.servers[0].http.open_streams)


async def test_who_wants_no_half_connections_is_closed_at_the_far_end() -> None:
    async with link() as both:
        near, far = await both.joined(half=False)
        near.transport.write_eof()
        await until(lambda: far.lost == [None] and near.lost == [None])


async def test_close_sends_what_was_written() -> None:
    async with link() as both:
        near, far = await both.joined()
        far.transport.pause_reading()
        near.transport.write(b"x" * 4 * MIB)
        near.transport.close()
        near.transport.write(b"nobody gets this")
        assert near.transport.is_closing()
        await until(lambda: len(waiting(far)) == STREAM_WINDOW)
        assert not near.lost
        far.transport.resume_reading()
        await until(lambda: far.ended and near.lost == [None])
        assert len(far.data) == 4 * MIB


def waiting(end: Noted) -> bytes:
    return b"".join(cast("StreamTransport", end.transport).waiting)


async def test_a_writer_is_paused_and_goes_on() -> None:
    async with link() as both:
        near, far = await both.joined()
        near.transport.set_write_buffer_limits(high=1)
        assert near.transport.get_write_buffer_limits() == (QUEUE_LOW, QUEUE_HIGH)
        far.transport.pause_reading()
        near.transport.write(b"x" * STREAM_WINDOW)
        await until(lambda: len(waiting(far)) == STREAM_WINDOW)
        near.pauses.clear()
        near.transport.write(b"x" * (QUEUE_HIGH - 1))
        assert near.pauses == []
        near.transport.write(b"x" * 2)
        assert near.pauses == ["pause"]
        assert near.transport.get_write_buffer_size() == QUEUE_HIGH + 1
        far.transport.resume_reading()
        await until(lambda: near.pauses == ["pause", "resume"])
        await until(lambda: len(far.data) == STREAM_WINDOW + QUEUE_HIGH + 1)


async def test_nothing_is_told_while_reading_is_paused() -> None:
    async with link() as both:
        near, far = await both.joined()
        far.transport.pause_reading()
        near.transport.write(b"abc")
        near.transport.write_eof()
        await until(lambda: waiting(far) == b"abc")
        assert not far.data
        assert not far.ended
        far.transport.resume_reading()
        await until(lambda: far.ended)
        assert far.data == b"abc"


async def test_a_protocol_may_pause_between_two_pieces() -> None:
    async with link() as both:
        near, far = await both.joined()
        far.transport.pause_reading()
        for _ in range(3):
            near.transport.write(b"abc")
        await until(lambda: waiting(far) == b"abc" * 3)
        took = far.data_received

        def once(data: bytes) -> None:
            took(data)
            far.transport.pause_reading()

        cast("Any", far).data_received = once
        stream = cast("StreamTransport", far.transport)
        stream.waiting.extend([b"d", b"e"])
        stream.stream.held += 2
        far.transport.resume_reading()
        await until(lambda: far.data)
        assert len(far.data) + len(waiting(far)) == 11
        assert waiting(far)


@pytest.mark.parametrize("how", ["abort", "reset"])
async def test_a_reset_is_an_error_at_the_far_end(how: str) -> None:
    async with link() as both:
        near, far = await both.joined()
        near.transport.write(b"abc")
        await until(lambda: far.data)
        if how == "abort":
            near.transport.abort()
        else:
            reset(near.transport)
        assert near.transport.is_closing()
        await until(lambda: near.lost == [None] and len(far.lost) == 1)
        (error,) = far.lost
        assert isinstance(error, ConnectionResetError)
        assert "CONNECT_ERROR" in str(error)
        assert far.transport.is_closing()
        far.transport.write(b"into the void")
        far.transport.close()
        far.transport.abort()
        await until(lambda: not both.client.http.open_streams)
        assert (len(near.lost), len(far.lost)) == (1, 1)


async def test_a_fault_of_a_protocol_breaks_its_own_stream_alone() -> None:
    told: list[dict[str, Any]] = []
    async with link() as both:
        both.client.loop.set_exception_handler(lambda _, context: told.append(context))
        near, far = await both.joined()
        others = await both.joined()
        far.fails = ZeroDivisionError("a fault")
        near.transport.write(b"abc")
        await until(lambda: near.lost and far.lost)
        assert [context["exception"] for context in told] == [far.fails]
        others[0].transport.write(b"still here")
        await until(lambda: others[1].data == b"still here")


async def test_bytes_for_who_has_closed_are_answered_by_a_reset() -> None:
    async with link() as both:
        near, far = await both.joined()
        near.transport.close()
        await until(lambda: near.lost == [None] and far.ended)
        far.transport.write(b"too late")
        await until(lambda: far.lost)
        assert isinstance(far.lost[0], ConnectionResetError)


async def test_a_far_side_that_never_ends_doesn_t_keep_the_stream() -> None:
    async with link() as both:
        near, far = await both.joined()
        near.transport.close()
        await until(lambda: near.lost == [None] and far.ended)
        (stream,) = both.client.http.streams.values()
        now = both.client.loop.time()
        stream.data.on_tick(now + FIN_TIMEOUT - 1)
        assert both.client.http.open_streams == 1
        stream.data.on_tick(now + FIN_TIMEOUT + 1)
        assert not both.client.http.open_streams
        await until(lambda: far.lost)


async def test_a_lost_connection_is_a_reset_of_all_its_streams() -> None:
    async with link() as both:
        ends = [await both.joined() for _ in range(3)]
        ends[0][0].transport.close()
        both.client.transport.abort()
        await until(lambda: all(near.lost and far.lost for near, far in ends))
        assert ends[0][0].lost == [None] or isinstance(ends[0][0].lost[0], OSError)
        assert isinstance(ends[1][1].lost[0], ConnectionResetError)
        ends[1][1].transport.close()
        assert ends[1][1].lost[1:] == []


async def test_close_after_the_connection_is_gone() -> None:
    async with link() as both:
        near, far = await both.joined()
        near.transport.write_eof()
        far.transport.write_eof()
        await until(lambda: near.ended and far.ended)
        both.client.transport.abort()
        await until(lambda: both.client.closed)
        assert not near.lost
        near.transport.close()
        await until(lambda: near.lost == [None])


async def test_what_is_known_of_a_stream() -> None:
    async with link() as both:
        near, far = await both.open()
        assert near.get_extra_info("sockname") == far.get_extra_info("peername")
        assert near.get_extra_info("socket") is None
        assert not near.is_reading()
        assert near.can_write_eof()
