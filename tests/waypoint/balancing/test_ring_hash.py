"""Where hashes lead, beside a real Envoy: equal hosts and weights make equal tables."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.envoy import bootstrap, envoy, http_listener
from tests.waypoint.balancing.hosts import FakeHost
from waypoint.balance import Candidate, Rules, balanced
from waypoint.balancing.policies import MaglevPolicy, RingHashPolicy
from waypoint.messages import Request
from waypoint.routing.hashing import HashHeader, affinity

LB = "type.googleapis.com/envoy.extensions.load_balancing_policies"
KEYS = 150


@dataclass(frozen=True)
class Case:
    """A cluster: addresses on loopback and their weights."""

    name: str
    policy: RingHashPolicy | MaglevPolicy
    hosts: tuple[tuple[str, int], ...]

    def config(self, port: int) -> dict[str, Any]:
        """For Envoy."""
        endpoints = [
            {
                "endpoint": {"address": {"socketAddress": {"address": a, "portValue": port}}},
                "loadBalancingWeight": weight,
            }
            for a, weight in self.hosts
        ]
        return {
            "name": self.name,
            "type": "STATIC",
            "loadAssignment": {
                "clusterName": self.name,
                "endpoints": [{"lbEndpoints": endpoints}],
            },
            **self.lb(),
        }

    def lb(self) -> dict[str, Any]:
        match self.policy:
            case MaglevPolicy(size):
                return {"lbPolicy": "MAGLEV", "maglevLbConfig": {"tableSize": size}}
            case RingHashPolicy(least, most, murmur):
                options = {
                    "minimumRingSize": least,
                    "maximumRingSize": most,
                    "hashFunction": "MURMUR_HASH_2" if murmur else "XX_HASH",
                }
                return {"lbPolicy": "RING_HASH", "ringHashLbConfig": options}

    def ours(self, port: int, keys: list[str]) -> list[str]:
        """Addresses that we choose."""
        made = [FakeHost(f"{address}:{port}", weight) for address, weight in self.hosts]
        # They needn't come in any order.
        random.Random(1).shuffle(made)
        balance = balanced([Candidate(host) for host in made], Rules(self.policy))
        found = []
        for key in keys:
            fields = ((b"x-key", key.encode()),)
            request = Request(b"GET", b"http", b"web", b"/", fields)
            number = affinity(request, (HashHeader(b"x-key"),), "", b"").number
            host = balance.pick(0.5, (), number)
            assert host is not None
            found.append(host.label.partition(":")[0])
        return found


def cases(seed: int) -> list[Case]:
    """Some of each sort."""
    draw = random.Random(seed)
    policies: list[RingHashPolicy | MaglevPolicy] = [
        MaglevPolicy(1009),
        MaglevPolicy(65537),
        RingHashPolicy(),
        RingHashPolicy(16, 100),
        RingHashPolicy(1024, murmur=True),
    ]
    found = []
    for number, policy in enumerate(policies * 2):
        count = draw.choice([1, 3, 10, 40])
        hosts = {
            f"127.{draw.randrange(1, 255)}.{draw.randrange(256)}.{draw.randrange(1, 255)}"
            for _ in range(count)
        }
        weights = [1] if draw.random() < 0.4 else list(range(1, 12))
        # In the order of their keys, which places on a ring depend on where weights don't
        # divide it evenly.
        listed = tuple((host, draw.choice(weights)) for host in sorted(hosts))
        found.append(Case(f"c{number}", policy, listed))
    return found


@asynccontextmanager
async def named() -> AsyncIterator[int]:
    """A server on all of loopback, that answers with the address that was called."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = writer.get_extra_info("sockname")[0].encode()
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(name), name)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(serve, "0.0.0.0", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def asked(port: int, cluster: str, keys: list[str]) -> list[str]:
    """Addresses that Envoy chooses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    for key in keys:
        writer.write(f"GET /{cluster}/ HTTP/1.1\r\nhost: web\r\nx-key: {key}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        found.append((await reader.readexactly(length)).decode())
    writer.close()
    return found


async def test_hashes_lead_where_envoys_do() -> None:
    drawn = random.Random(7)
    keys = [f"{drawn.getrandbits(60):x}" for _ in range(KEYS)]
    made = cases(3)
    routes = [
        {
            "match": {"prefix": f"/{case.name}/"},
            "route": {
                "cluster": case.name,
                "hashPolicy": [{"header": {"headerName": "x-key"}}],
            },
        }
        for case in made
    ]
    table = {"virtualHosts": [{"name": "all", "domains": ["*"], "routes": routes}]}
    async with named() as port:
        config = bootstrap([http_listener("http", table)], [c.config(port) for c in made])
        async with envoy(config) as ports:
            for case in made:
                theirs = await asked(ports["http"], case.name, keys)
                assert case.ours(port, keys) == theirs, case
