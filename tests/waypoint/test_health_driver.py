"""Checks over real sockets, and what becomes of clusters by them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import h2.events
import pytest
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import json_format

from tests.waypoint.http2.peers import H2, upstream2
from tests.waypoint.mesh import HTTP_PORT, NAMESPACE, hostname, service, until
from waypoint.clusters import Clusters, cluster_name
from waypoint.decode_cluster import TYPE_URL
from waypoint.health_driver import HealthDriver, health_request, probe
from waypoint.resilience.health import (
    Check,
    GrpcCheck,
    HealthCheck,
    HttpCheck,
    Result,
    TcpCheck,
)
from ztunnel_compat.model import Extension, Service, ServicePort, Workload
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.state import WorkloadState

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[int]:
    """A server whose connections are answered like this; gives its port."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def saying(data: bytes, asked: list[bytes] | None = None, *, after: bytes = b"") -> Answer:
    """Answer with some bytes, after some bytes came."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if after:
            request = await reader.readuntil(after)
            if asked is not None:
                asked.append(request)
        writer.write(data)
        await writer.drain()

    return answer


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Take everything and say nothing."""
    await reader.read()


def checking(check: Check, timeout: float = 5.0) -> HealthCheck:
    return HealthCheck(check, timeout, 1.0)


async def probed(check: Check, port: int, timeout: float = 5.0) -> Result:
    return await probe(checking(check, timeout), "127.0.0.1", port, "web.example")


END = b"\r\n\r\n"


@pytest.mark.parametrize(
    ("response", "result"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0" + END, Result.GOOD),
        (b"HTTP/1.0 200 OK" + END, Result.GOOD),
        (b"HTTP/1.1 100 Continue" + END + b"HTTP/1.1 200 OK" + END, Result.GOOD),
        (b"HTTP/1.1 429 x" + END, Result.BAD),
        (b"HTTP/1.1 503 x" + END, Result.FATAL),
        (b"HTTP/1.1 101 x" + END, Result.FATAL),
        (b"SSH-2.0-x" + END, Result.FATAL),
        (b"HTTP/1.1 200 OK\r\n", Result.NETWORK),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * (1 << 17), Result.NETWORK),
        (b"", Result.NETWORK),
    ],
)
async def test_http(response: bytes, result: Result) -> None:
    check = HttpCheck(b"/h", retriable=((429, 430),))
    async with answering(saying(response, after=END)) as port:
        assert await probed(check, port) is result


async def test_http_asks_what_is_configured() -> None:
    asked: list[bytes] = []
    answer = saying(b"HTTP/1.1 204 x" + END, asked, after=END)
    check = HttpCheck(b"/h?a=b", b"other", b"HEAD", ((b"x-a", b"1"),), ((200, 300),))
    async with answering(answer) as port:
        assert await probed(check, port) is Result.GOOD
        assert await probed(HttpCheck(b"/"), port) is Result.FATAL
    first, second = asked
    assert first.startswith(b"HEAD /h?a=b HTTP/1.1\r\nhost: other\r\n")
    assert b"\r\nx-a: 1\r\n" in first
    assert second.startswith(b"GET / HTTP/1.1\r\nhost: web.example\r\n")


@pytest.mark.parametrize(
    ("statuses", "result"),
    [
        ((b"200",), Result.GOOD),
        ((b"103", b"200"), Result.GOOD),
        ((b"429",), Result.BAD),
        ((b"503",), Result.FATAL),
        ((), Result.NETWORK),
    ],
)
async def test_http2(statuses: tuple[bytes, ...], result: Result) -> None:
    asked: list[tuple[bytes, bytes]] = []

    async def answer(server: H2) -> None:
        request = await server.next(h2.events.RequestReceived)
        asked.extend(request.headers)
        for status in statuses:
            end = status >= b"200"
            server.conn.send_headers(request.stream_id, [(b":status", status)], end_stream=end)
        if not statuses:
            server.conn.reset_stream(request.stream_id)
        await server.flush()
        await server.read()

    check = HttpCheck(b"/h", fields=((b"x-a", b"1"),), retriable=((429, 430),), http2=True)
    async with upstream2(answer) as served:
        assert await probed(check, served.port) is result
    assert asked[:4] == [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/h"),
        (b":authority", b"web.example"),
    ]
    assert (b"x-a", b"1") in asked


async def test_http2_of_one_that_does_not_speak_it() -> None:
    check = HttpCheck(b"/h", http2=True)
    async with answering(saying(b"HTTP/1.1 400 x" + END, after=END)) as port:
        assert await probed(check, port) is Result.NETWORK


@pytest.mark.parametrize(
    ("check", "said", "result"),
    [
        (TcpCheck(), b"", Result.GOOD),
        (TcpCheck(b"PING\r\n", (b"PO", b"NG")), b"+PONG", Result.GOOD),
        (TcpCheck(b"PING\r\n", (b"PONG",)), b"-ERR", Result.NETWORK),
        (TcpCheck(b"PING\r\n", (b"PONG",)), b"x" * (1 << 17), Result.NETWORK),
    ],
)
async def test_tcp(check: TcpCheck, said: bytes, result: Result) -> None:
    async with answering(saying(said, after=check.send and b"\r\n")) as port:
        assert await probed(check, port) is result


@pytest.mark.parametrize(
    "check",
    [HttpCheck(b"/"), HttpCheck(b"/", http2=True), TcpCheck(b"x", (b"y",)), GrpcCheck()],
    ids=["http", "http2", "tcp", "grpc"],
)
async def test_who_says_nothing_has_timed_out(check: Check) -> None:
    async with answering(silent) as port:
        assert await probed(check, port, 0.05) is Result.TIMEOUT


@pytest.mark.parametrize(
    "check", [HttpCheck(b"/"), TcpCheck(), GrpcCheck()], ids=["http", "tcp", "grpc"]
)
async def test_nobody_there(check: Check) -> None:
    async with answering(silent) as port:
        pass
    assert await probed(check, port) is Result.NETWORK


class Health(grpc.GenericRpcHandler):
    """grpc.health.v1.Health, by service: a response's bytes, or a status."""

    def __init__(self, answers: dict[bytes, Any]) -> None:
        self.answers = answers
        self.authorities: list[dict[str, str]] = []

    def service(self, details: Any) -> Any:
        self.authorities.append(dict(details.invocation_metadata))
        if details.method != "/grpc.health.v1.Health/Check":
            return None
        return grpc.unary_unary_rpc_method_handler(self.check)

    async def check(self, request: bytes, context: Any) -> Any:
        answer = self.answers[request]
        if isinstance(answer, grpc.StatusCode):
            await context.abort(answer)
        return answer


@pytest.mark.parametrize(
    ("name", "answer", "result"),
    [
        ("", b"\x08\x01", Result.GOOD),
        ("a.b.C", b"\x08\x01", Result.GOOD),
        ("x" * 300, b"\x08\x01", Result.GOOD),
        ("", b"\x08\x02", Result.FATAL),
        ("", b"", Result.FATAL),
        ("", grpc.StatusCode.NOT_FOUND, Result.FATAL),
        ("", grpc.StatusCode.UNAVAILABLE, Result.NETWORK),
    ],
)
async def test_grpc(name: str, answer: Any, result: Result) -> None:
    server = grpc.aio.server()
    health = Health({health_request(name): answer})
    server.add_generic_rpc_handlers((health,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        check = GrpcCheck(name, fields=((b"x-a", b"1"),))
        assert await probed(check, port) is result
        assert health.authorities[0]["x-a"] == "1"
    finally:
        await server.stop(None)


def test_health_request() -> None:
    struct = json_format.ParseDict({"name": "s" * 200}, cluster_pb2.Cluster())
    # Field 1 of Cluster is a string too.
    assert health_request("s" * 200) == struct.SerializeToString()
    assert health_request("") == b""


WEB = cluster_name(hostname("web"), HTTP_PORT)


def checked_service(*checks: dict[str, Any]) -> Service:
    """A service whose endpoints are checked every second, and never by panic."""
    times = {
        "timeout": "5s", "interval": "1s", "noTrafficInterval": "1s", "unhealthyThreshold": 1,
        "healthyThreshold": 1,
    }  # fmt: skip
    fields: dict[str, Any] = {
        "healthChecks": [{**times, **check} for check in checks],
        "commonLbConfig": {"healthyPanicThreshold": {}},
    }
    value = json_format.ParseDict(fields, cluster_pb2.Cluster()).SerializeToString()
    return replace(service("web"), extensions=(Extension(WEB, TYPE_URL, value),))


async def test_hosts_come_and_go_as_their_checks_say() -> None:
    """Two endpoints on one port: one answers, the other doesn't, then the roles change."""
    well = {"127.0.0.1"}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(END)
        status = 200 if writer.get_extra_info("sockname")[0] in well else 503
        writer.write(b"HTTP/1.1 %d x%b" % (status, END))
        writer.close()
        await writer.wait_closed()

    servers = [
        await asyncio.start_server(answer, address, port)
        for address, port in (("127.0.0.1", 0),)
    ]
    port = servers[0].sockets[0].getsockname()[1]
    servers.append(await asyncio.start_server(answer, "127.0.0.2", port))
    web = checked_service({"httpHealthCheck": {"path": "/"}})
    state = WorkloadState()
    now = [0.0]
    pods = [
        Workload(
            f"w{last}",
            addresses=(bytes([127, 0, 0, last]),),
            services={web.key: (ServicePort(HTTP_PORT, port),)},
        )
        for last in (1, 2)
    ]
    state.apply([web, *pods], [])
    clusters = Clusters(state, now=lambda: now[0])
    cluster = clusters.use(NAMESPACE, WEB)
    async with Tasks() as tasks:
        driver = HealthDriver(clusters, tasks)

        async def checked(expected: list[str]) -> None:
            driver.advance()
            await until(lambda: all(c.due for m in members for c in m.checks))
            assert [e.host for e in cluster.balance.endpoints] == expected
            now[0] += 1

        members = list(cluster.members.values())
        assert cluster.pick(0.5) is None
        await checked(["127.0.0.1"])
        well.add("127.0.0.2")
        await checked(["127.0.0.1", "127.0.0.2"])
        well.discard("127.0.0.1")
        await checked(["127.0.0.2"])
        servers[1].close()
        await checked([])
    servers[0].close()


async def test_a_host_must_pass_all_of_its_checks() -> None:
    """One check is of the port that serves, the other of one beside it, which goes away."""
    now = [0.0]
    async with (
        answering(saying(b"HTTP/1.1 200 OK" + END, after=END)) as port,
        answering(silent) as beside,
    ):
        other = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0)
        web = checked_service(
            {"httpHealthCheck": {"path": "/"}},
            {"tcpHealthCheck": {}, "altPort": other.sockets[0].getsockname()[1]},
            {"tcpHealthCheck": {}, "altPort": beside},
        )
        state = WorkloadState()
        served = {web.key: (ServicePort(HTTP_PORT, port),)}
        state.apply([web, Workload("w", addresses=(b"\x7f\0\0\1",), services=served)], [])
        clusters = Clusters(state, now=lambda: now[0])
        cluster = clusters.use(NAMESPACE, WEB)
        (member,) = cluster.members.values()
        async with Tasks() as tasks:
            driver = HealthDriver(clusters, tasks)

            async def checked() -> list[bool | None]:
                driver.advance()
                await until(lambda: all(check.due for check in member.checks))
                now[0] += 1
                return [check.healthy for check in member.checks]

            assert await checked() == [True, True, True]
            assert cluster.pick(0.5) is member
            other.close()
            await other.wait_closed()
            assert await checked() == [True, False, True]
            assert cluster.pick(0.5) is None
