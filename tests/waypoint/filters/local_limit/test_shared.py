"""Buckets that real processes have in common."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from subprocess import PIPE, Popen
from typing import Any

import pytest
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import (
    LocalRateLimit,
)
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from google.protobuf import json_format

from proto import workload_pb2
from tests.support.netns import Netns, netns
from tests.waypoint.test_app import ENVIRONMENT, control_plane, dumps, gate, process, push
from tests.ztunnel_compat.ads_server import resource, workload
from waypoint.filters.local_limit.bucket import SECOND, Bucket, remaining
from waypoint.filters.local_limit.shared import Buckets, Handle, make_buckets
from waypoint.server import IDENTITY_PORT
from ztunnel_compat.identity import Identity
from ztunnel_compat.proxy_protocol import ProxyHeader, encode_proxy
from ztunnel_compat.xds import ADDRESS_TYPE

HOUR = 3600 * SECOND
WEB = "web.apps.svc.cluster.local"
WHOLE = {"defaultValue": {"numerator": 100}}
#: Tokens at once, and a second.
SIZE, RATE = 100, 100
#: Takes until it is told to stop; then says how many it got, and when.
TAKES = """
import sys, time
from waypoint.filters.local_limit.bucket import Bucket
from waypoint.filters.local_limit.shared import Buckets
buckets = Buckets(int(sys.argv[1]), new=False)
handle = buckets.handle(b"web", Bucket(*map(int, sys.argv[2].split(","))))
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + float(sys.argv[3])
got = []
while time.monotonic() < end:
    level = buckets.take(handle, 1)
    if level is not None and level.taken:
        got.append(level.now)
print(*got)
"""


def empty(buckets: Buckets, handle: Handle) -> int:
    """How many tokens there are."""
    got = 0
    while (level := buckets.take(handle, 1)) is not None and level.taken:
        got += 1
    return got


def test_a_name_and_its_numbers_make_a_bucket() -> None:
    buckets = make_buckets()
    assert empty(buckets, buckets.handle(b"a", Bucket(5, 1, HOUR))) == 5
    # Another view of the same memory, as after a push or in another process.
    again = Buckets(buckets.descriptor, new=False)
    assert empty(again, again.handle(b"a", Bucket(5, 1, HOUR))) == 0
    assert empty(again, again.handle(b"a", Bucket(6, 1, HOUR))) == 6
    assert empty(again, again.handle(b"b", Bucket(5, 1, HOUR))) == 5
    assert empty(again, again.handle(b"a", Bucket(5, 1, HOUR), dynamic=True)) == 5


def test_values_of_requests_never_take_a_configured_bucket_s_place() -> None:
    buckets = make_buckets()
    fixed = [buckets.handle(b"%d" % number, Bucket(2, 1, HOUR)) for number in range(50)]
    for handle in fixed:
        buckets.take(handle, 2)
    buckets.dynamic.rows = 4
    for number in range(2000):
        handle = buckets.handle(b"value %d" % number, Bucket(2, 1, HOUR), dynamic=True)
        buckets.take(handle, 1)
    assert buckets.dynamic.evicted >= 2000 - 4 * 16
    assert buckets.fixed.evicted == 0
    assert [empty(buckets, handle) for handle in fixed] == [0] * 50


def test_two_processes_never_get_more_than_there_is() -> None:
    buckets = make_buckets()
    # A second without the processor loses nothing.
    size, per_fill = 2000, 2000
    command = [
        *(sys.executable, "-c", TAKES, str(buckets.descriptor)),
        *(f"{size},{per_fill},{SECOND}", "0.4"),
    ]
    takers = [
        Popen(command, stdin=PIPE, stdout=PIPE, pass_fds=(buckets.descriptor,), text=True)
        for _ in range(2)
    ]
    for taker in takers:
        assert taker.stdout is not None
        assert taker.stdout.readline() == "ready\n"
    for taker in takers:
        assert taker.stdin is not None
        taker.stdin.write("\n")
        taker.stdin.flush()
    got = sorted(int(word) for taker in takers for word in taker.communicate()[0].split())
    assert all(taker.returncode == 0 for taker in takers)
    for first in range(0, len(got), 23):
        for last in range(first, len(got), 19):
            span = got[last] - got[first]
            assert last - first + 1 <= size + span * per_fill / SECOND
    # Nothing lies with one that another could want: what they left is here, and whole.
    handle = buckets.handle(b"web", Bucket(size, per_fill, SECOND))
    level = buckets.take(handle, 0)
    assert level is not None
    left = remaining(handle.bucket, level)
    span = level.now - got[0]
    assert len(got) > size
    assert len(got) + left >= size + span * per_fill // SECOND - 1


@pytest.fixture
def place() -> Iterator[Netns]:
    with netns("127.0.0.1") as made:
        yield made


def resources() -> list[Any]:
    """A waypoint, and a service of its whose requests are limited."""
    limit = json_format.ParseDict(
        {
            "statPrefix": "x",
            "filterEnabled": WHOLE,
            "filterEnforced": WHOLE,
            "tokenBucket": {"maxTokens": SIZE, "tokensPerFill": RATE, "fillInterval": "1s"},
        },
        LocalRateLimit(),
    )
    manager = HttpConnectionManager()
    manager.http_filters.add(name="limit").typed_config.Pack(limit)
    web = workload_pb2.Service(name="web", namespace="apps", hostname=WEB)
    web.addresses.add(address=bytes([10, 96, 0, 7]))
    web.ports.add(service_port=80, app_protocol=workload_pb2.HTTP11)
    web.waypoint.hostname.namespace = "apps"
    web.waypoint.hostname.hostname = "gate.apps.svc.cluster.local"
    web.extensions.add(name=f"inbound-vip|80|filters|{WEB}").config.Pack(manager)
    ports = workload_pb2.PortList()
    ports.ports.add(service_port=80, target_port=8080)
    pod = workload(
        "w", name="w", namespace="apps", addresses=[bytes([127, 0, 0, 1])],
        services={f"apps/{WEB}": ports},
    )  # fmt: skip
    address = workload_pb2.Address(service=web)
    return [gate(), resource(f"apps/{WEB}", "1", ADDRESS_TYPE, address), pod]


@dataclass
class Counting:
    """A server that counts."""

    requests: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def listening(self, place: Netns) -> AsyncIterator[None]:
        listener = place.listen("127.0.0.1", 8080)
        listener.setblocking(False)
        counting = await asyncio.start_server(self.serve, sock=listener)
        try:
            yield
        finally:
            counting.close()
            for writer in self.writers:
                writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()


async def ask(place: Netns, number: int, until: float) -> None:
    """Ask as often as answers come, over one connection of one client."""
    loop = asyncio.get_running_loop()
    header = ProxyHeader(
        bytes([10, 0, 0, 9]), 4711 + number, bytes([10, 96, 0, 7]), 80,
        Identity("cluster.local", "apps", "client"),
    )  # fmt: skip
    made = place.open_socket()
    made.setblocking(False)
    await loop.sock_connect(made, ("127.0.0.1", IDENTITY_PORT))
    reader, writer = await asyncio.open_connection(sock=made)
    writer.write(encode_proxy(header))
    while time.monotonic() < until:
        writer.write(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
        await reader.readexactly(length)
    writer.close()


@dataclass
class Bound:
    """What the server may have got since the bucket was full."""

    server: Counting
    began: float

    async def load(self, place: Netns, clients: int) -> float:
        """Have so many clients ask for a second; the share of what there was that they got.

        At no moment may it be more than there was.
        """
        before, began = self.server.requests, time.monotonic()
        there = max(0.0, SIZE + RATE * (began - self.began) - before)
        await asyncio.gather(*(ask(place, number, began + 1.0) for number in range(clients)))
        now = time.monotonic()
        assert self.server.requests <= SIZE + RATE * (now - self.began)
        return (self.server.requests - before) / (min(there, SIZE) + RATE * (now - began))

    async def used(self, place: Netns, clients: int) -> float:
        """The best share of a few: a machine that was busy otherwise tells nothing."""
        best = 0.0
        for _ in range(5):
            best = max(best, await self.load(place, clients))
            if best >= 0.95:
                break
        return best


async def test_workers_keep_a_limit_together_and_one_alone_has_all_of_it(place: Netns) -> None:
    environment = ENVIRONMENT | {"WORKERS": "2", "LOG_LEVEL": "error", "L4_MODE": "sandwich"}
    server = Counting()
    async with control_plane(place) as ads, server.listening(place):
        with process(place, environment) as waypoint:
            for _ in range(2):
                await push(ads, *resources())
            await waypoint.until_ready(200)
            bound = Bound(server, time.monotonic())
            assert await bound.used(place, 16) >= 0.95
            found = await dumps(waypoint)
            name = "x.http_local_rate_limit.enabled"
            asked = [each["counters"]["filters"].get(name, 0) for each in found.values()]
            assert min(asked) > 0, asked
            # One connection is one worker's, which has all of it at once.
            assert await bound.used(place, 1) >= 0.95
            waypoint.child.send_signal(signal.SIGTERM)
            code, errors = await waypoint.end()
            assert code == 0, errors
            assert "Traceback" not in errors
