"""Listening sockets, from a node agent that ends to the one that follows it.

A socket that is passed on never stops listening: a connection that comes between the
two waits in its queue, and is refused by nobody. The one that ends listens at a path
once it has given up all else that there can be one of; the one that follows connects:

    ends -> follows   for each socket its network namespace's cookie (u64), and the socket
    ends -> follows   cookie 0: that was all
    follows -> ends   any message: they are mine now

Until that last word they are still the first one's, and another may come for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from bpf.layout import TunnelPort
from daemon.tunnel.listeners import Listeners
from ztunnel_compat.drivers.seqpacket import Packet, SeqPacket, ready
from ztunnel_compat.errors import ZdsError

logger = logging.getLogger(__name__)

COOKIE: Final = struct.Struct("=Q")
TAKEN: Final = b"taken"
#: Seconds for each message of the other's: it has nothing else to do.
ANSWER: Final = 5.0


async def give(path: Path, pods: Mapping[int, Listeners]) -> None:
    """Wait for a successor, and give it listening sockets, by their netns' cookie.

    Returns once it has them all; they stay open here. Raises OSError when the path
    can't be listened at.
    """
    with listening(path) as listener:
        while not await given(listener, pods):
            continue


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket at a path that only root can connect to, gone with the block."""
    path.unlink(missing_ok=True)
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as listener:
        listener.setblocking(False)
        with private():
            listener.bind(str(path))
        listener.listen(1)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def private() -> Iterator[None]:
    """Make files that only their owner may use."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


async def given(listener: socket.socket, pods: Mapping[int, Listeners]) -> bool:
    """Wait for a successor, and give it the sockets; whether it has taken them."""
    await ready(listener, writing=False)
    try:
        connection = SeqPacket(listener.accept()[0], COOKIE.size)
    except OSError:
        return False
    try:
        for cookie, listeners in pods.items():
            for one in listeners:
                async with asyncio.timeout(ANSWER):
                    await connection.send(COOKIE.pack(cookie), (one.fileno(),))
        async with asyncio.timeout(ANSWER):
            await connection.send(COOKIE.pack(0))
            answer = await connection.receive()
    except (OSError, ZdsError, TimeoutError) as error:
        logger.warning(
            "the node agent that follows didn't take the listening sockets: %s", error
        )
        return False
    finally:
        connection.close()
    if answer is not None:
        answer.close()
    return answer is not None


async def take(path: Path) -> dict[int, Listeners]:
    """The listening sockets of a predecessor that ends, by their netns' cookie.

    None where nobody waits there to give them.
    """
    connection = connect(path)
    if connection is None:
        return {}
    found: dict[int, list[socket.socket]] = {}
    try:
        while await take_one(connection, found):
            continue
        await connection.send(TAKEN)
    except (OSError, ZdsError, TimeoutError) as error:
        logger.warning("listening sockets of the node agent before this one: %s", error)
        for sockets in found.values():
            for one in sockets:
                one.close()
        return {}
    finally:
        connection.close()
    return {cookie: sorted_by_port(sockets) for cookie, sockets in found.items()}


def connect(path: Path) -> SeqPacket | None:
    """A connection to a predecessor that ends, if there is one."""
    try:
        return SeqPacket.connect(path, COOKIE.size)
    except ConnectionRefusedError:
        # It was killed; whoever starts node agents looks for this file.
        path.unlink(missing_ok=True)
    except OSError:
        pass
    return None


async def take_one(connection: SeqPacket, found: dict[int, list[socket.socket]]) -> int:
    """Take the next message; its cookie. Raises ZdsError, OSError, TimeoutError."""
    async with asyncio.timeout(ANSWER):
        packet = await connection.receive()
    if packet is None:
        raise ZdsError("it ended before it gave them all")
    opened = [socket.socket(fileno=descriptor) for descriptor in packet.descriptors]
    cookie = parse(packet)
    found.setdefault(cookie, []).extend(opened)
    for one in opened:
        one.setblocking(False)
    if cookie == 0:
        del found[cookie]
    return cookie


def parse(packet: Packet) -> int:
    """A message's cookie; raises ZdsError."""
    if len(packet.data) != COOKIE.size:
        raise ZdsError(f"a message of {len(packet.data)} bytes, not {COOKIE.size}")
    return int(COOKIE.unpack(packet.data)[0])


def sorted_by_port(sockets: Iterable[socket.socket]) -> Listeners:
    """A pod's sockets, each for what its port is for."""
    by_port: dict[int, list[socket.socket]] = {}
    for one in sockets:
        by_port.setdefault(one.getsockname()[1], []).append(one)
    return Listeners(
        tuple(by_port.get(TunnelPort.OUTBOUND, ())), tuple(by_port.get(TunnelPort.HBONE, ()))
    )
