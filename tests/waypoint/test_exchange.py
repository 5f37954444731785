"""What becomes of requests: answers, retries, time-outs, and their log lines."""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import replace

import pytest

from tests.waypoint.mesh import Mesh, host, routes, running, service, to, until
from tests.waypoint.wire import Peer, client, ok, request, upstream
from waypoint.worker import Limits
from ztunnel_compat.model import WorkloadStatus

STALE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def closed_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def serve(mesh: Mesh, *ports: int) -> None:
    mesh.push(service("web"))
    for number, port in enumerate(ports):
        mesh.pod(f"web-{number}", "web", port)
    mesh.ask("web")


async def status_of(mesh: Mesh, raw: bytes = request()) -> tuple[int, str]:
    """The status for a request on a connection of its own, and its log line."""
    count = len("".join(mesh.log).splitlines())
    async with client(mesh) as peer:
        await peer.send(raw)
        head = await peer.head()
    lines = await mesh.lines(count + 1)
    return int(head.split()[1]), lines[-1]


async def test_the_log_line_exactly() -> None:
    async with running() as mesh, upstream(None, ok(b"hello", "X: y")) as server:
        route = {"name": "apps.web.0", "match": {"prefix": "/"}, "route": to("web")}
        mesh.push(service("web", routes("web", host(route))))
        mesh.pod("web-1", "web", server.port)
        mesh.ask("web")
        async with client(mesh) as peer:
            await peer.send(
                request("/a?b=c", "User-Agent: t/1", "X-Request-Id: id", "Content-Length: 3",
                        "X-Forwarded-For: 1.2.3.4", method="POST", body=b"abc")
            )  # fmt: skip
            await peer.response()
            local = peer.writer.get_extra_info("sockname")
        (text,) = await mesh.lines(1)
        stamp = r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\]"
        wanted = (
            r' "POST /a\?b=c HTTP/1\.1" 200 - via_upstream - "-" 3 5 \d+ \d+ '
            rf'"1\.2\.3\.4" "t/1" "id" "web" "127\.0\.0\.1:{server.port}" '
            r"outbound\|80\|\|web\.apps\.svc\.cluster\.local "
            rf"127\.0\.0\.1:\d+ 10\.96\.0\.7:80 127\.0\.0\.1:{local[1]} - apps\.web\.0 "
            r'"spiffe://cluster\.local/ns/apps/sa/default" -'
        )
        assert re.fullmatch(stamp + wanted, text), text


async def test_no_route_is_404() -> None:
    async with running() as mesh:
        route = {"match": {"path": "/only"}, "route": to("web")}
        mesh.push(service("web", routes("web", host(route))))
        mesh.ask("web")
        status, text = await status_of(mesh)
        assert status == 404
        assert " 404 NR route_not_found " in text


async def test_direct_responses_keep_the_connection() -> None:
    async with running() as mesh:
        reply = {"status": 418, "body": {"inlineString": "teapot"}}
        mesh.push(service("web", routes("web", host({"match": {"prefix": "/"},
                                                    "directResponse": reply}))))  # fmt: skip
        mesh.ask("web")
        async with client(mesh) as peer:
            for _ in range(2):
                head, body = await peer.get()
                assert head.startswith(b"http/1.1 418 ")
                assert body == b"teapot"
                assert b"connection" not in head
            await peer.send(request(method="HEAD") + request())
            assert b"content-length: 6\r\n" in (await peer.head()).lower()
            assert (await peer.response())[1] == b"teapot"


async def test_nobody_there_is_503_uh() -> None:
    async with running() as mesh:
        serve(mesh)
        mesh.pod("sick", "web", 9, status=WorkloadStatus.UNHEALTHY)
        status, text = await status_of(mesh)
        assert status == 503
        assert " 503 UH no_healthy_upstream " in text


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, 503),
        ({"clusterNotFoundResponseCode": "NOT_FOUND"}, 404),
        ({"clusterNotFoundResponseCode": "INTERNAL_SERVER_ERROR"}, 500),
    ],
)
async def test_an_unknown_cluster_is_nc(said: dict[str, str], expected: int) -> None:
    async with running() as mesh:
        route = {"match": {"prefix": "/"}, "route": {**to("nowhere"), **said}}
        mesh.push(service("web", routes("web", host(route))))
        mesh.ask("web")
        status, text = await status_of(mesh)
        assert status == expected
        assert f" {expected} NC cluster_not_found " in text


async def test_a_refused_connection_is_503_uf() -> None:
    async with running() as mesh:
        serve(mesh, closed_port())
        status, text = await status_of(mesh)
        assert status == 503
        assert " 503 UF,URX upstream_reset_before_response_started{" in text
        assert '"delayed_connect_error:_Connection_refused"' in text


async def test_a_refused_connection_is_tried_elsewhere_for_any_request() -> None:
    async with running() as mesh, upstream() as server:
        serve(mesh, server.port, closed_port(), closed_port())
        body = b"x" * 100_000
        for _ in range(10):
            raw = request("/", f"Content-Length: {len(body)}", method="POST")
            async with client(mesh) as peer:
                await peer.send(raw + body)
                assert (await peer.response())[1] == b"hello"
        assert mesh.worker.stats.retries["connect-failure"] > 0


async def test_no_more_than_three_endpoints_are_tried() -> None:
    async with running() as mesh:
        serve(mesh, *(closed_port() for _ in range(5)))
        assert (await status_of(mesh))[0] == 503
        assert mesh.worker.stats.connect_failures == 3
        assert mesh.worker.stats.retries == {"connect-failure": 2, "exhausted": 1}


async def test_a_connection_that_isn_t_made_in_time() -> None:
    # A listener whose backlog is full drops SYNs.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        try:
            async with running() as mesh:
                serve(mesh, listener.getsockname()[1])
                for cluster in mesh.worker.targets.clusters.clusters.values():
                    cluster.configure(replace(cluster.settings, connect_timeout=0.2))
                status, text = await status_of(mesh)
                assert status == 503
                assert '"connection_timeout"' in text
        finally:
            for filler in fillers:
                filler.close()


async def closes_when_reused(peer: Peer) -> None:
    """Answers one request, and dies under the second."""
    await peer.head()
    await peer.send(STALE)
    await peer.head()


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_a_stale_connection_costs_an_idempotent_request_nothing(method: str) -> None:
    async with running() as mesh, upstream(closes_when_reused) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            for _ in range(3):
                assert (await peer.get())[1] == b"hi"
                await peer.send(request(method=method))
                assert (await peer.head()).startswith(b"HTTP/1.1 200 ")
                if method != "HEAD":
                    assert await peer.exactly(2) == b"hi"
        # A HEAD that is answered with a body leaves its connection unusable.
        retries = 3 if method == "HEAD" else 5
        assert mesh.worker.stats.retries_stale == retries
        assert server.connections == 6


@pytest.mark.parametrize(
    "raw",
    [
        request(method="POST"),
        request(method="PATCH"),
        request("/", "Content-Length: 2", method="PUT", body=b"ab"),
        request("/", "Transfer-Encoding: chunked", method="PUT", body=b"0\r\n\r\n"),
    ],
)
async def test_other_requests_are_not_sent_twice(raw: bytes) -> None:
    async with running() as mesh, upstream(closes_when_reused) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.get()
            await peer.send(raw)
            assert (await peer.head()).startswith(b"HTTP/1.1 503 ")
        lines = await mesh.lines(2)
        assert " 503 UC " in lines[1]
        assert server.connections == 1
        assert mesh.worker.stats.stale_not_retried == 1


async def test_a_fresh_connection_that_dies_is_not_tried_again() -> None:
    async def dies(peer: Peer) -> None:
        await peer.head()

    async with running() as mesh, upstream(dies) as server:
        serve(mesh, server.port)
        status, text = await status_of(mesh)
        assert status == 503
        details = "upstream_reset_before_response_started{connection_termination}"
        assert f" 503 UC {details} " in text
        assert server.connections == 1


async def test_part_of_a_response_rules_a_retry_out() -> None:
    async def dies(peer: Peer) -> None:
        await peer.head()
        await peer.send(STALE)
        await peer.head()
        await peer.send(b"HTTP/1.1 2")

    async with running() as mesh, upstream(dies) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.get()
            await peer.send(request())
            assert (await peer.head()).startswith(b"HTTP/1.1 503 ")
        assert server.connections == 1


async def hangs(peer: Peer) -> None:
    await peer.rest()


async def test_a_route_s_timeout_is_504_ut() -> None:
    async with running() as mesh, upstream(hangs) as server:
        route = {"match": {"prefix": "/"}, "route": to("web", timeout="0.1s")}
        mesh.push(service("web", routes("web", host(route))))
        mesh.pod("web-1", "web", server.port)
        mesh.ask("web")
        status, text = await status_of(mesh)
        assert status == 504
        assert " 504 UT upstream_response_timeout " in text


async def test_the_timeout_starts_with_the_whole_request_and_cuts_responses_off() -> None:
    async def drips(peer: Peer) -> None:
        await peer.head()
        await peer.exactly(2)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await peer.rest()

    async with running() as mesh, upstream(drips) as server:
        route = {"match": {"prefix": "/"}, "route": to("web", timeout="0.2s")}
        mesh.push(service("web", routes("web", host(route))))
        mesh.pod("web-1", "web", server.port)
        mesh.ask("web")
        async with client(mesh) as peer:
            await peer.send(request("/", "Content-Length: 2", method="POST", body=b"a"))
            await asyncio.sleep(0.3)
            await peer.send(b"b")
            assert (await peer.head()).startswith(b"HTTP/1.1 200 ")
            assert await peer.rest() == b"abc"
        (text,) = await mesh.lines(1)
        assert " 200 UT upstream_response_timeout " in text


async def test_nothing_for_too_long_ends_it() -> None:
    async with running(Limits(idle=0.1)) as mesh, upstream(hangs) as server:
        serve(mesh, server.port)
        status, text = await status_of(mesh)
        assert status == 504
        assert " 504 SI stream_idle_timeout " in text


async def test_weights_split_requests() -> None:
    async with running() as mesh, upstream() as one, upstream() as two:
        names = {"v1": 80, "v2": 20}
        clusters = [{"name": to(n)["cluster"], "weight": w} for n, w in names.items()]
        action = {"weightedClusters": {"clusters": clusters}, "timeout": "0s"}
        mesh.push(service("v1"), service("v2"))
        mesh.push(service("web", routes("web", host({"match": {"prefix": "/"},
                                                    "route": action}))))  # fmt: skip
        mesh.pod("one", "v1", one.port)
        mesh.pod("two", "v2", two.port)
        mesh.ask("web")
        async with client(mesh) as peer:
            for _ in range(1000):
                await peer.get()
        assert 150 < len(two.heads) < 250
        assert len(one.heads) + len(two.heads) == 1000


async def test_an_endpoint_that_leaves_gets_no_more_requests() -> None:
    async with (
        running() as mesh,
        upstream(None, ok(b"1")) as one,
        upstream(None, ok(b"2")) as two,
    ):
        serve(mesh, one.port, two.port)
        async with client(mesh) as peer:
            while not (one.heads and two.heads):
                await peer.get()
            mesh.pod("web-0", "web", one.port, status=WorkloadStatus.UNHEALTHY)
            before = len(one.heads)
            for _ in range(20):
                assert (await peer.get())[1] == b"2"
        assert len(one.heads) == before
        await until(lambda: mesh.worker.connections == 0)
