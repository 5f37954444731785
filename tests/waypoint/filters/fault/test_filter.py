"""Faults as clients and endpoints meet them, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from google.protobuf import json_format

from tests.waypoint.filters.beside import Case, beside
from tests.waypoint.grpc_service import Client, grpc_server
from tests.waypoint.http2.test_upstream import ask, failure_of
from tests.waypoint.mesh import Mesh, filters, host, routes, running, service, to, until
from tests.waypoint.wire import Handler, Peer, Upstream, client, ok, request, upstream
from ztunnel_compat.model import AppProtocol

FAULT = HTTPFault.DESCRIPTOR.full_name
ALL = {"numerator": 100}
ABORT = {"abort": {"httpStatus": 503, "percentage": ALL}}
GRPC = "content-type: application/grpc"


@asynccontextmanager
async def served(
    fault: dict[str, Any], route: dict[str, Any] | None = None, handle: Handler | None = None
) -> AsyncIterator[tuple[Mesh, Upstream]]:
    """A service with a fault, and another (or none) for /v2."""
    async with running() as mesh, upstream(handle) as server:
        override = {"@type": f"type.googleapis.com/{FAULT}", **(route or {})}
        more = {} if route is None else {"typedPerFilterConfig": {FAULT: override}}
        entries = [
            {"match": {"prefix": "/v2"}, "route": to("web"), **more},
            {"match": {"prefix": "/"}, "route": to("web")},
        ]
        message = json_format.ParseDict(fault, HTTPFault())
        mesh.push(service("web", routes("web", host(*entries)), filters("web", message)))
        mesh.pod("web-1", "web", server.port)
        mesh.ask("web")
        yield mesh, server


async def test_an_abort_is_answered_here_and_counted() -> None:
    async with served(ABORT) as (mesh, server), client(mesh) as peer:
        head, body = await peer.get("/")
        assert head.startswith(b"http/1.1 503")
        assert body == b"fault filter abort"
        assert server.heads == []
        assert mesh.worker.stats.filters == {"fault.aborts_injected": 1}
        assert " 503 FI fault_filter_abort " in (await mesh.lines(1))[0]


async def test_grpc_callers_get_grpc_s_status() -> None:
    fault = {"abort": {"grpcStatus": 5, "percentage": ALL}}
    async with served(fault, ABORT) as (mesh, _), client(mesh) as peer:
        head, _ = await peer.get("/", GRPC)
        assert head.startswith(b"http/1.1 200")
        assert b"grpc-status: 5\r\n" in head
        head, _ = await peer.get("/v2", GRPC)
        assert b"grpc-status: 14\r\n" in head
        head, body = await peer.get("/")
        assert (head[:12], body) == (b"http/1.1 200", b"fault filter abort")
        assert b"grpc-status" not in head


@pytest.mark.parametrize(("filter_fault", "route_fault"), [({}, ABORT), (ABORT, {})])
async def test_a_route_s_own_fault_takes_the_place_of_the_filter_s(
    filter_fault: dict[str, Any], route_fault: dict[str, Any]
) -> None:
    async with served(filter_fault, route_fault) as (mesh, server), client(mesh) as peer:
        statuses = [(await peer.get(path))[0][9:12] for path in ("/v2", "/")]
        assert statuses == ([b"503", b"200"] if route_fault else [b"200", b"503"])
        assert len(server.heads) == 1


async def test_requests_wait_without_an_endpoint_and_go_on() -> None:
    fault = {"delay": {"headerDelay": {}, "percentage": ALL}}
    async with served(fault) as (mesh, server), client(mesh) as peer:
        await peer.send(request("/", "x-envoy-fault-delay-request: 150"))
        await until(lambda: mesh.worker.stats.filters)
        assert server.connections == 0
        head, body = await peer.response()
        assert (head[:12], body) == (b"http/1.1 200", b"hello")
        assert mesh.worker.stats.filters == {"fault.delays_injected": 1}
        line = (await mesh.lines(1))[0]
        assert " 200 DI via_upstream " in line
        assert int(line.split('"')[4].split()[2]) >= 140


async def test_an_abort_comes_after_the_delay() -> None:
    fault = {"delay": {"fixedDelay": "0.01s", "percentage": ALL}, **ABORT}
    async with served(fault) as (mesh, server), client(mesh) as peer:
        assert (await peer.get("/"))[0].startswith(b"http/1.1 503")
        assert " 503 DI,FI fault_filter_abort " in (await mesh.lines(1))[0]
        assert server.heads == []


async def test_a_delay_ends_with_its_client() -> None:
    fault = {"delay": {"fixedDelay": "3600s", "percentage": ALL}, "maxActiveFaults": 1}
    async with served(fault) as (mesh, server):
        async with client(mesh) as peer:
            await peer.send(request("/"))
            await until(lambda: mesh.worker.stats.filters)
        assert " DI,DC downstream_remote_disconnect " in (await mesh.lines(1))[0]
        # There is room for another one's.
        async with client(mesh) as peer:
            await peer.send(request("/"))
            await until(lambda: mesh.worker.stats.filters == {"fault.delays_injected": 2})
        assert server.connections == 0


async def test_no_more_at_a_time_than_configured() -> None:
    fault = {"delay": {"fixedDelay": "3600s", "percentage": ALL}, "maxActiveFaults": 1}
    async with served(fault) as (mesh, _), client(mesh) as held, client(mesh) as peer:
        await held.send(request("/"))
        await until(lambda: mesh.worker.stats.filters)
        assert (await peer.get("/"))[1] == b"hello"
        assert mesh.worker.stats.filters["fault.faults_overflow"] == 1


@pytest.mark.parametrize(
    ("cluster", "status"),
    [("outbound|80||web.apps.svc.cluster.local", b"503"), ("another", b"200")],
)
async def test_a_fault_is_for_one_cluster(cluster: str, status: bytes) -> None:
    async with served({"upstreamCluster": cluster, **ABORT}) as (mesh, _), client(mesh) as peer:
        assert (await peer.get("/"))[0][9:12] == status


async def test_the_cluster_that_is_asked_about_is_the_one_that_is_taken() -> None:
    names = [
        "outbound|80||web.apps.svc.cluster.local",
        "outbound|80||web2.apps.svc.cluster.local",
    ]
    weighted = {"clusters": [{"name": name, "weight": 1} for name in names]}
    route = {"match": {"prefix": "/"}, "route": {"weightedClusters": weighted}}
    fault = json_format.ParseDict({"upstreamCluster": names[0], **ABORT}, HTTPFault())
    async with (
        running() as mesh,
        upstream(None, ok(b"one")) as first,
        upstream(None, ok(b"two")) as second,
    ):
        rules = routes("web", host(route))
        mesh.push(service("web", rules, filters("web", fault)), service("web2"))
        mesh.pod("web-1", "web", first.port)
        mesh.pod("web-2", "web2", second.port)
        mesh.ask("web")
        async with client(mesh) as peer:
            told = [await peer.get("/") for _ in range(40)]
        statuses = {head[9:12] for head, _ in told}
        assert statuses == {b"200", b"503"}
        assert {body for head, body in told if head[9:12] == b"200"} == {b"two"}


BIG = bytes(range(256)) * 4096


def large(sent: list[int]) -> Handler:
    """Answers with a megabyte, and tells how much of it could be written."""

    async def handle(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG))
            for at in range(0, len(BIG), 4096):
                await peer.send(BIG[at : at + 4096])
                sent.append(4096)

    return handle


async def test_responses_come_at_their_rate_and_whole() -> None:
    # A megabyte at 4 MiB a second.
    fault = {"responseRateLimit": {"fixedLimit": {"limitKbps": 4096}, "percentage": ALL}}
    async with served(fault, handle=large([])) as (mesh, _), client(mesh) as peer:
        await peer.send(request("/"))
        await peer.head()
        began = asyncio.get_running_loop().time()
        assert await peer.exactly(len(BIG)) == BIG
        # It never comes faster: the first portion at once, the last after the 4th interval.
        assert asyncio.get_running_loop().time() - began > 0.19
        assert mesh.worker.stats.filters == {"fault.response_rl_injected": 1}


async def test_what_is_slowed_down_waits_with_the_endpoint() -> None:
    fault = {"responseRateLimit": {"fixedLimit": {"limitKbps": 1}, "percentage": ALL}}
    sent: list[int] = []
    async with served(fault, handle=large(sent)) as (mesh, _), client(mesh) as peer:
        await peer.send(request("/"))
        await peer.exactly(200)
        (downstream,) = mesh.worker.downstreams
        exchange = downstream.exchange
        assert exchange is not None
        assert exchange.taps is not None
        (tap,) = exchange.taps.row
        await until(lambda: exchange.taps is not None and exchange.taps.behind == {tap})
        # One read of the socket's may come on top of the bound.
        assert tap.waiting.length < 64 * 1024 + 256 * 1024
    await until(lambda: not mesh.worker.connections)


async def test_trailers_come_after_what_waits() -> None:
    fault = {"responseRateLimit": {"fixedLimit": {"limitKbps": 100}, "percentage": ALL}}

    async def handle(peer: Peer) -> None:
        await peer.head()
        chunk = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
        await peer.send(b"0\r\n\r\n")
        await peer.rest()

    async with served(fault, handle=handle) as (mesh, _), client(mesh) as peer:
        await peer.send(request("/"))
        await peer.head()
        text = await peer.until(b"0\r\n\r\n")
        assert text.count(b"x") == 0x2000


GRPC_TOO = ((), (GRPC,))
HEADERS = (
    (), ("x-envoy-fault-abort-request: 404",), ("x-envoy-fault-abort-request: 99",),
    ("x-envoy-fault-abort-request: 600",), ("x-envoy-fault-abort-request: abc",),
    ("x-envoy-fault-abort-request: 404", "x-envoy-fault-abort-request: 503"),
    ("x-envoy-fault-abort-grpc-request: 5",), ("x-envoy-fault-abort-grpc-request: 5", GRPC),
    ("x-envoy-fault-abort-grpc-request: 5", "x-envoy-fault-abort-request: 404", GRPC),
    ("x-envoy-fault-abort-request: 404", "x-envoy-fault-abort-request-percentage: 0"),
    ("x-envoy-fault-abort-request: 404", "x-envoy-fault-abort-request-percentage: 100"),
    ("x-envoy-fault-abort-request: 404", "x-envoy-fault-abort-request-percentage: x"),
    ("x-envoy-fault-delay-request: 1",), ("x-envoy-fault-delay-request: 0",),
    ("x-envoy-fault-throughput-response: 100",), ("x-envoy-fault-throughput-response: 0",),
)  # fmt: skip
TINY = {"fixedDelay": "0.001s", "percentage": ALL}
BY_HEADER = {
    "abort": {"headerAbort": {}, "percentage": ALL},
    "delay": {"headerDelay": {}, "percentage": ALL},
    "responseRateLimit": {"headerLimit": {}, "percentage": ALL},
}
CASES = [
    *(
        Case({"abort": {"httpStatus": status, "percentage": ALL}}, GRPC_TOO)
        # Envoy gives a 204 a body, which is the beginning of the next response then.
        for status in (200, 301, 400, 401, 403, 404, 429, 500, 502, 503, 504, 599)
    ),
    *(
        Case({"abort": {"grpcStatus": status, "percentage": ALL}}, GRPC_TOO)
        for status in (0, 1, 14, 16, 20)
    ),
    Case({"abort": {"httpStatus": 503}}, GRPC_TOO),
    Case({"abort": {"httpStatus": 503, "percentage": {"numerator": 0}}}),
    Case({"abort": {"httpStatus": 503, "percentage": {"numerator": 10**6, "denominator": 2}}}),
    Case({"delay": TINY}),
    Case({"delay": TINY, **ABORT}, GRPC_TOO),
    Case(BY_HEADER, HEADERS),
    Case({**BY_HEADER, "abort": {"headerAbort": {}}}, HEADERS),
    Case({**ABORT, "delay": {"headerDelay": {}}}, HEADERS),
    Case({**ABORT, "maxActiveFaults": 0}),
    Case({**ABORT, "upstreamCluster": str(to("web")["cluster"])}),
    Case({**ABORT, "upstreamCluster": "other"}),
    Case(
        {**ABORT, "downstreamNodes": ["a", "b"]},
        ((), ("x-envoy-downstream-service-node: b",), ("x-envoy-downstream-service-node: c",)),
    ),
    Case(
        {
            **ABORT,
            "headers": [
                {"name": "x-a", "stringMatch": {"exact": "1"}},
                {"name": "x-b", "presentMatch": True, "invertMatch": True},
            ],
        },
        ((), ("x-a: 1",), ("x-a: 2",), ("x-a: 1", "x-b: 1")),
    ),
]


async def test_envoy_answers_the_same() -> None:
    for case, (theirs, ours) in zip(CASES, await beside(HTTPFault, CASES), strict=True):
        assert ours == theirs, case


async def test_real_grpc_callers() -> None:
    faults: list[dict[str, Any]] = [
        {"abort": {"grpcStatus": 8, "percentage": ALL}},
        {"abort": {"httpStatus": 401, "percentage": ALL}},
        {
            "delay": {"fixedDelay": "0.02s", "percentage": ALL},
            "responseRateLimit": {"fixedLimit": {"limitKbps": 2048}, "percentage": ALL},
        },
    ]
    async with running() as mesh:
        with grpc_server() as (_, port):
            mesh.pod("web-1", "web", port)
            for fault in faults:
                message = json_format.ParseDict(fault, HTTPFault())
                rules = routes("web", host({"match": {"prefix": "/"}, "route": to("web")}))
                web = service("web", rules, filters("web", message), speaks=AppProtocol.GRPC)
                mesh.push(web)
                mesh.ask("web")
                if "abort" not in fault:
                    break
                status = await ask(mesh, lambda client: failure_of(lambda: client.unary(b"a")))
                wanted = (8, 16)["httpStatus" in fault["abort"]]
                assert status.code().value[0] == wanted
                assert status.details() == "fault filter abort"

            def question(client: Client) -> None:
                # Some hundred kilobytes at two megabytes a second, then their trailers.
                _, call = client.unary.with_call(BIG[:200_000])
                assert dict(call.trailing_metadata())["tail"] == "2"
                assert len(list(client.serverstream(b"3000"))) == 3000

            await ask(mesh, question)
        assert mesh.worker.stats.filters == {
            "fault.aborts_injected": 2,
            "fault.delays_injected": 2,
            "fault.response_rl_injected": 2,
        }


async def test_a_body_waits_with_its_request() -> None:
    fault = {"delay": {"fixedDelay": "0.05s", "percentage": ALL}}
    got: list[bytes] = []

    async def handle(peer: Peer) -> None:
        await peer.head()
        got.append(await peer.exactly(len(BIG)))
        await peer.send(ok())
        await peer.rest()

    async with served(fault, handle=handle) as (mesh, _), client(mesh) as peer:
        await peer.send(request("/", f"Content-Length: {len(BIG)}", method="POST", body=BIG))
        assert (await peer.response())[1] == b"hello"
        assert got == [BIG]
