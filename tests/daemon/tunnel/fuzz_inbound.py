"""What a client with a good certificate may send after the handshake, and shouldn't."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
from pathlib import Path
from typing import Any, cast

import h2.config
import h2.connection

from bpf.layout import Mark
from daemon.tunnel.client import Client
from daemon.tunnel.inbound import InboundConnection, InboundTunnel
from daemon.tunnel.secured import Secured
from daemon.tunnel.sockets import OURS, Connecting, PodSockets
from tests.daemon.tunnel.pods import PORT, WHO, Node
from tests.support.fuzz import mutate

#: What a connection may send before anything that isn't read stays in the kernel.
CHUNK = 16384


class Transport:
    """Takes everything, and says at once that it is gone when it is closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.protocol: InboundConnection
        self.closing = False
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.loop.call_soon(self.protocol.connection_lost, None)

    abort = close


class Applications(PodSockets):
    """An application that takes, refuses, or is slow, without a network between."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.others: list[socket.socket] = []

    def close(self) -> None:
        for other in self.others:
            other.close()
        self.others.clear()
        self.poller.close()
        del self.poller

    def begin(
        self, netns_fd: int, address: str, port: int, mark: Mark = OURS
    ) -> socket.socket | Connecting:
        mark.pack()
        fate = self.rng.random()
        if fate < 0.3:
            raise ConnectionRefusedError(111, "refused")
        ours, other = socket.socketpair()
        ours.setblocking(False)
        other.setblocking(False)
        if self.rng.random() < 0.5:
            other.send(b"hello")
        if self.rng.random() < 0.3:
            other.close()
        else:
            self.others.append(other)
        return Connecting(self.poller, ours) if fate < 0.6 else ours


def sound(rng: random.Random, authority: str) -> bytes:
    """A client's bytes, as the h2 library writes them."""
    made = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    made.initiate_connection()
    opened: list[int] = []
    for _ in range(rng.randrange(1, 8)):
        kind = rng.randrange(6)
        if kind < 2 or not opened:
            number = made.get_next_available_stream_id()
            asked = rng.choice([authority, authority, "10.96.0.1:80", "web:80", ":", "1.2.3.4"])
            headers = [(":method", "CONNECT"), (":authority", asked)]
            if rng.random() < 0.5:
                headers.append(("baggage", "k8s.namespace.name=app"))
                headers.append(("forwarded", 'for="10.99.0.1:4711";host=web'))
            made.send_headers(number, headers)
            opened.append(number)
        elif kind == 2:
            made.send_data(rng.choice(opened), rng.randbytes(rng.randrange(2000)))
        elif kind == 3:
            number = opened.pop(rng.randrange(len(opened)))
            made.end_stream(number)
        elif kind == 4:
            number = opened.pop(rng.randrange(len(opened)))
            made.reset_stream(number)
        else:
            made.ping(rng.randbytes(8))
    return bytes(made.data_to_send())


def connection(node: Node, transport: Transport) -> InboundConnection:
    """A connection whose TLS is up, of a client that proved who it is."""
    (pod,) = node.server.pods
    made = InboundConnection(node.server.inbound, pod)
    made.check = None
    made.client = Client(WHO, bytes([10, 99, 0, 1]), 4711)
    made.local = bytes([10, 99, 0, 2])
    transport.protocol = made
    made.connection_made(cast("Secured", transport))
    return made


async def fuzz(node: Node, inputs: int, seed: int) -> None:
    """Nothing breaks, and nothing is left: tunnels, descriptors, objects, tasks."""
    loop = asyncio.get_running_loop()
    broken: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: broken.append(context))
    rng = random.Random(seed)
    applications = Applications(rng)
    object.__setattr__(node.server.inbound, "sockets", applications)
    authority = f"10.99.0.2:{PORT}"
    seeds = [sound(rng, authority) for _ in range(200)]
    # What other tests left to the garbage collector isn't ours to count.
    gc.collect()
    tasks, descriptors = len(node.tasks.running), count_descriptors()
    for number in range(inputs):
        data = rng.choice(seeds)
        if rng.random() < 0.9:
            # The preface is there mostly, or nothing behind it would be looked at.
            keep = 24 if rng.random() < 0.95 else 0
            data = data[:keep] + mutate(rng, data[keep:])
        made = connection(node, Transport(loop))
        while data and not made.closed:
            size = min(rng.choice([1, 9, 100, CHUNK, CHUNK]), len(data))
            made.received(memoryview(data[:size]))
            data = data[size:]
            if rng.random() < 0.3:
                await asyncio.sleep(0)
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)
        made.abort("the input is over")
        await asyncio.sleep(0)
        if number % 1000 == 999:
            await settle(node, tasks)
            applications.close()
            assert not broken, broken
    await settle(node, tasks)
    applications.close()
    assert not broken, broken
    assert node.tasks.failure is None
    assert node.server.tunnels == 0
    assert not node.authorizer.admitted
    del made
    gc.collect()
    assert count_descriptors() == descriptors
    kinds = (InboundConnection, InboundTunnel)
    left = [one for one in gc.get_objects() if isinstance(one, kinds)]
    assert not left, f"{len(left)} objects are left"


async def settle(node: Node, tasks: int) -> None:
    """Let what was under way end."""
    async with asyncio.timeout(20):
        while len(node.tasks.running) > tasks:
            await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
