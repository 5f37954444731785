"""Active health checks over real connections; what they mean is in resilience.health."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from typing import Any

import grpc

from waypoint.clusters import Cluster, Clusters
from waypoint.http2.probe import status_of
from waypoint.member import Member
from waypoint.resilience.health import (
    Checked,
    GrpcCheck,
    HealthCheck,
    HttpCheck,
    Result,
    TcpCheck,
)
from ztunnel_compat.runtime.tasks import Tasks

USER_AGENT = b"tandem-health-check"
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r]")
#: Bytes of a response's head, or of what a TCP check waits for.
MOST = 64 * 1024
#: grpc.health.v1: HealthCheckResponse with status SERVING.
SERVING = b"\x08\x01"


class HealthDriver:
    """Starts checks as they become due, each on a connection of its own."""

    def __init__(self, clusters: Clusters, tasks: Tasks) -> None:
        self.clusters = clusters
        self.tasks = tasks

    def advance(self) -> None:
        """Called about once a second: start what is due."""
        now = self.clusters.now()
        for cluster in self.clusters.clusters.values():
            if not cluster.settings.checks:
                continue
            for member in cluster.members.values():
                for checked in member.checks:
                    if checked.begin(now):
                        self.tasks.spawn(run_check(cluster, member, checked), "health check")


async def run_check(cluster: Cluster, member: Member, checked: Checked) -> None:
    """Check a member and tell its cluster."""
    health = checked.settings
    result = await probe(health, member.host, health.port or member.port, cluster.hostname)
    cluster.check(member, checked, result)


async def probe(health: HealthCheck, host: str, port: int, name: str) -> Result:
    """What a check comes to; name: of whom is asked, where the check doesn't say."""
    try:
        async with asyncio.timeout(health.timeout):
            match health.check:
                case HttpCheck(http2=True):
                    return await probe_http2(health.check, host, port, name)
                case HttpCheck():
                    return await probe_http(health.check, host, port, name)
                case TcpCheck():
                    return await probe_tcp(health.check, host, port)
                case GrpcCheck():
                    return await probe_grpc(health.check, host, port, name)
    except TimeoutError:
        return Result.TIMEOUT
    except (OSError, EOFError, asyncio.LimitOverrunError):
        return Result.NETWORK


async def probe_http(check: HttpCheck, host: str, port: int, name: str) -> Result:
    """Ask, and judge the status; interim responses are passed over."""
    reader, writer = await asyncio.open_connection(host, port, limit=MOST)
    with closing(writer):
        fields = b"".join(b"%b: %b\r\n" % field for field in check.fields)
        writer.write(
            b"%b %b HTTP/1.1\r\nhost: %b\r\nuser-agent: %b\r\n"
            b"connection: close\r\n%b\r\n"
            % (check.method, check.path, check.host or name.encode(), USER_AGENT, fields)
        )
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            line = STATUS_LINE.match(head)
            if line is None:
                return Result.FATAL
            status = int(line[1])
            if status >= 200 or status == 101:
                return check.verdict(status)


async def probe_http2(check: HttpCheck, host: str, port: int, name: str) -> Result:
    """The same over HTTP/2."""
    headers = [
        (b":method", check.method),
        (b":scheme", b"http"),
        (b":path", check.path),
        (b":authority", check.host or name.encode()),
        (b"user-agent", USER_AGENT),
        *check.fields,
    ]
    return check.verdict(await status_of(host, port, headers))


async def probe_tcp(check: TcpCheck, host: str, port: int) -> Result:
    """Connect, and wait for what has to come."""
    reader, writer = await asyncio.open_connection(host, port)
    with closing(writer):
        writer.write(check.send)
        received = b""
        while not check.satisfied(received):
            data = await reader.read(MOST)
            received += data
            if not data or len(received) > MOST:
                return Result.NETWORK
        return Result.GOOD


async def probe_grpc(check: GrpcCheck, host: str, port: int, name: str) -> Result:
    """Ask the standard health service."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    options = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.default_authority", check.authority.decode() or name),
        # Else channels to one place share a connection, and its failures.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.insecure_channel(place, options=options) as channel:
        ask: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        metadata = [(key.decode(), value.decode()) for key, value in check.fields]
        try:
            answer: bytes = await ask(health_request(check.service), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            lost = error.code() is grpc.StatusCode.UNAVAILABLE
            return Result.NETWORK if lost else Result.FATAL
    return Result.GOOD if answer == SERVING else Result.FATAL


def health_request(service: str) -> bytes:
    """A serialized HealthCheckRequest: field 1, the service's name."""
    name = service.encode()
    if not name:
        return b""
    length, size = b"", len(name)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return b"\x0a" + length + bytes([size]) + name
