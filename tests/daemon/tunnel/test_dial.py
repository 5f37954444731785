"""Connections to a server that is none of ours: Envoy, with real certificates."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.daemon.tunnel.envoy import envoy_side
from tests.daemon.tunnel.pki import client_context, new_authority, who
from tests.daemon.tunnel.rig import near_side, until


class Application:
    """A server that does what its first byte says; counts what it took."""

    def __init__(self) -> None:
        self.taken = 0
        self.over = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        try:
            match await reader.read(1):
                case b"e":
                    while data := await reader.read(65536):
                        writer.write(data)
                        await writer.drain()
                    writer.write_eof()
                case b"h":
                    found = hashlib.sha256()
                    while data := await reader.read(65536):
                        found.update(data)
                    writer.write(found.digest())
                    writer.write_eof()
                case b"r":
                    linger = struct.pack("ii", 1, 0)
                    connection = writer.get_extra_info("socket")
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    writer.transport.abort()
                case b"f":
                    writer.write(b"first")
                    writer.write_eof()
                    await reader.read()
        except ConnectionError:
            pass
        finally:
            self.over += 1
            writer.close()


@contextlib.asynccontextmanager
async def application() -> AsyncIterator[tuple[Application, int]]:
    served = Application()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    async with server:
        yield served, server.sockets[0].getsockname()[1]


async def test_envoy_is_understood(tmp_path: Path) -> None:
    data = random.Random(2).randbytes(8_000_000)
    async with (
        application() as (served, app_port),
        envoy_side(tmp_path, app_port) as port,
        near_side(port) as near,
        asyncio.timeout(120),
    ):
        # Bytes, and an end in either direction first.
        echo = await near.connect()
        await echo.send(b"ehello")
        assert await echo.receive_exactly(5) == b"hello"
        echo.end()
        assert await echo.receive() == b""
        hashed = await near.connect()
        await hashed.send(b"h" + data)
        hashed.end()
        assert await hashed.receive_all() == hashlib.sha256(data).digest()
        first = await near.connect()
        await first.send(b"f")
        assert await first.receive_all() == b"first"
        first.end()
        await until(lambda: len(near.lines.lines) == 3)
        assert not any(" error=" in text for _, _, text in near.lines.lines)
        # A break in either direction.
        broken = await near.connect()
        await broken.send(b"r")
        with pytest.raises(ConnectionResetError):
            await broken.receive()
        breaks = await near.connect()
        await breaks.send(b"eX")
        assert await breaks.receive_exactly(1) == b"X"
        assert served.over == 4
        breaks.reset()
        # Envoy makes a plain end of it.
        await until(lambda: served.over == 5)
        # All of it on one connection, and many at once on more.
        assert near.pool.opened == 1
        crowd = [await near.connect() for _ in range(150)]
        for one in crowd:
            await one.send(b"e.")
        for one in crowd:
            assert await one.receive_exactly(1) == b"."
        assert near.pool.opened == 2


async def test_envoy_without_its_application(tmp_path: Path) -> None:
    async with application() as (_, app_port):
        pass
    async with envoy_side(tmp_path, app_port) as port, near_side(port) as near:
        with pytest.raises(ConnectionResetError):
            await (await near.connect()).receive()
        await until(lambda: near.lines.lines)
        assert near.account.flags == {"CONNECT": 1}
        assert "http status: 503" in near.lines.lines[0][2]


async def test_envoy_that_does_not_trust_us(tmp_path: Path) -> None:
    async with (
        application() as (served, app_port),
        envoy_side(tmp_path, app_port) as port,
        near_side(port) as near,
    ):
        context = client_context(who("client"), new_authority("other"))
        context.verify_mode = ssl.CERT_NONE
        near.contexts.made[who("client")] = context
        with pytest.raises(ConnectionResetError):
            await (await near.connect()).receive()
        await until(lambda: near.lines.lines)
        assert near.account.flags == {"TLS_FAILURE": 1}
        assert "ALERT" in near.lines.lines[0][2]
        assert not served.taken
