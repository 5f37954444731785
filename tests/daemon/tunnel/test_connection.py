"""What a connection does by itself: PING, idling, drain, back-pressure, faults."""

from __future__ import annotations

import asyncio

import h2.settings
import hyperframe.frame
import pytest

from daemon.tunnel.connection import TunnelConnection
from daemon.tunnel.secured import HIGH
from tests.daemon.tunnel.far import FarStream, echo, far_side
from tests.daemon.tunnel.rig import App, Near, near_side, until
from ztunnel_compat.session.settings import Timing

QUICK = Timing(ping_every=0.02, ping_timeout=0.1)


async def joined(near: Near) -> App:
    """An application whose bytes flow."""
    application = await near.connect()
    await application.send(b"x")
    assert await application.receive_exactly(1) == b"x"
    return application


def only(near: Near) -> TunnelConnection:
    (connection,) = near.pool.connections()
    return connection


async def test_ping_finds_out_that_the_other_end_is_gone() -> None:
    async with far_side() as far, near_side(far.port, timing=QUICK) as near:
        application = await joined(near)
        far.mute = True
        with pytest.raises(ConnectionResetError):
            await application.receive()
        assert "no answer to a PING" in near.lines.lines[0][2]
        assert not list(near.pool.connections())


async def test_pings_that_are_answered_keep_it() -> None:
    async with far_side() as far, near_side(far.port, timing=QUICK) as near:
        application = await joined(near)
        await until(lambda: far.connections[0].pings >= 20)
        await application.send(b"y")
        assert await application.receive_exactly(1) == b"y"
        assert len(far.connections) == 1


async def test_connection_that_nobody_uses_is_closed() -> None:
    timing = Timing(ping_every=0.02, idle=0.05)
    async with far_side() as far, near_side(far.port, timing=timing) as near:
        application = await joined(near)
        # A stream that says nothing is a use.
        await until(lambda: far.connections[0].pings >= 10)
        assert only(near).usable
        application.end()
        await application.receive()
        await far.connections[0].closed.wait()
        assert far.goaways == [0]
        assert not near.pool.groups


async def test_drain_waits_for_streams() -> None:
    async with far_side() as far, near_side(far.port) as near:
        application = await joined(near)
        near.pool.drain()
        await application.send(b"y")
        assert await application.receive_exactly(1) == b"y"
        application.end()
        assert await application.receive() == b""
        await far.connections[0].closed.wait()
        with pytest.raises(ConnectionResetError):
            await joined(near)


async def test_abort_resets_streams() -> None:
    async with far_side() as far, near_side(far.port) as near:
        application = await joined(near)
        only(near).abort("a test")
        with pytest.raises(ConnectionResetError):
            await application.receive()
        assert "a test" in near.lines.lines[0][2]


async def test_fault_of_the_other_end_is_told() -> None:
    async with far_side() as far, near_side(far.port) as near:
        application = await joined(near)
        ping = hyperframe.frame.PingFrame(0, b"12345678")
        ping.stream_id = 1
        far.connections[0].transport.write(ping.serialize())
        with pytest.raises(ConnectionResetError):
            await application.receive()
        assert "broke HTTP/2: PROTOCOL_ERROR" in near.lines.lines[0][2]
        await until(lambda: far.goaways == [1])


async def test_node_that_does_not_read_stops_all_sources_and_fills_nothing() -> None:
    async with far_side() as far, near_side(far.port) as near:
        # As ztunnel's: more than the kernel takes.
        far.settings[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = 4 << 20
        applications = [await joined(near) for _ in range(20)]
        connection = only(near)
        far.connections[0].transport.pause_reading()

        async def pour(application: App) -> None:
            await application.send(bytes(4_000_000))
            application.end()

        async def drink(application: App) -> int:
            return len(await application.receive_all())

        pouring = [asyncio.ensure_future(pour(a)) for a in applications]
        drinking = [asyncio.ensure_future(drink(a)) for a in applications]
        relays = next(iter(near.outbound.relays.values()))
        await until(lambda: connection.paused and not any(r.reading for r in relays))
        waiting = connection.transport.unsent
        assert waiting <= HIGH + 512 * 1024
        assert all(relay.stream.queued <= 256 * 1024 for relay in relays)
        far.connections[0].transport.resume_reading()
        await asyncio.gather(*pouring)
        assert await asyncio.gather(*drinking) == [4_000_000] * 20
        await until(lambda: len(near.lines.lines) == 20)
        assert near.account.sent == 20 * 4_000_001


async def test_data_after_a_reset_of_ours_is_nobody_s() -> None:
    """The far side sends on for a moment; it must not run out of credit by it."""

    async def flood(stream: FarStream) -> None:
        if len(far.connections[0].streams) > 5:
            await echo(stream)
            return
        stream.respond()
        while True:
            await stream.write(bytes(65536))

    async with far_side(flood) as far, near_side(far.port) as near:
        for _ in range(5):
            application = await near.connect()
            await application.receive_exactly(3_000_000)
            application.reset()
        await until(lambda: not near.outbound.relays)
        application = await joined(near)
        for _ in range(50):
            await application.send(bytes(50_000))
            await application.receive_exactly(50_000)
        assert len(far.connections) == 1
