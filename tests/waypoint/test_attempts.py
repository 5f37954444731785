"""What becomes of a request after an attempt, on real sockets."""

from __future__ import annotations

import asyncio
import base64
import re
import time

import pytest
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2

from tests.waypoint.mesh import HTTP_PORT, Mesh, host, routes, running, service, to, until
from tests.waypoint.test_clusters import settings
from tests.waypoint.wire import Peer, client, ok, request, upstream
from waypoint.resilience.breakers import Resource
from waypoint.resilience.retry import Verdict

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno"
LONG = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 100000\r\n\r\nno"


def serve(mesh: Mesh, retry: dict[str, object], *ports: int, **cluster: object) -> None:
    """The service web with a retry policy."""
    route = {"match": {"prefix": "/"}, "route": to("web", retryPolicy=retry)}
    extensions = [routes("web", host(route))] + ([settings(**cluster)] if cluster else [])
    mesh.push(service("web", *extensions))
    for number, port in enumerate(ports):
        mesh.pod(f"web-{number}", "web", port)
    mesh.ask("web")


def counts(mesh: Mesh) -> dict[Resource, int]:
    """What the cluster counts now; all is given back when nothing is under way."""
    clusters = mesh.worker.targets.clusters.clusters.values()
    (cluster,) = [c for c in clusters if c.members and c.port == HTTP_PORT]
    counted = cluster.breakers.default.counts
    return {resource: counted[resource] for resource in Resource if counted[resource]}


@pytest.mark.parametrize("refusal", [UNAVAILABLE, LONG])
async def test_an_answer_may_be_asked_for_again(refusal: bytes) -> None:
    bodies: list[bytes] = []

    async def twice(peer: Peer) -> None:
        for _ in range(3):
            head = await peer.head()
            size = int(re.search(rb"content-length: (\d+)", head.lower())[1])  # type: ignore[index]
            bodies.append(await peer.exactly(size))
            await peer.send(refusal if len(bodies) < 3 else ok(b"well"))

    async with running() as mesh, upstream(twice) as server:
        serve(mesh, {"retryOn": "5xx", "numRetries": 3}, server.port)
        async with client(mesh) as peer:
            await peer.send(request("/", "Content-Length: 3", method="POST", body=b"abc"))
            assert (await peer.response())[1] == b"well"
        (text,) = await mesh.lines(1)
        assert " 200 - via_upstream " in text
        assert bodies == [b"abc"] * 3
        assert mesh.worker.stats.retries == {"answer": 2}
        assert counts(mesh).keys() <= {Resource.CONNECTIONS}
        assert mesh.worker.replays.held == 0


async def test_when_no_retries_are_left_the_client_gets_the_answer() -> None:
    async with running() as mesh, upstream(None, UNAVAILABLE, UNAVAILABLE) as server:
        serve(mesh, {"retryOn": "gateway-error", "numRetries": 1}, server.port)
        async with client(mesh) as peer:
            head, body = await peer.get()
        assert (head.split()[1], body) == (b"503", b"no")
        assert mesh.worker.stats.retries == {"answer": 1, "exhausted": 1}


async def test_a_body_beyond_the_bound_costs_the_retry_and_that_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def refuses(peer: Peer) -> None:
        await peer.head()
        await peer.exactly(10)
        await peer.send(UNAVAILABLE)
        await peer.reader.read()

    async with running() as mesh, upstream(refuses) as server:
        mesh.worker.replays.per_request = 9
        serve(mesh, {"retryOn": "5xx", "numRetries": 3}, server.port)
        async with client(mesh) as peer:
            await peer.send(
                request("/big", "Content-Length: 10", method="POST", body=b"x" * 10)
            )
            assert (await peer.response())[1] == b"no"
        replays = mesh.worker.replays
        assert mesh.worker.stats.retries == {"body": 1}
        assert (replays.lost_large, replays.held) == (1, 0)
        (said,) = [each for each in caplog.messages if "/big" in each]
        assert Verdict.BODY.value in said


async def test_a_try_that_takes_too_long_goes_again_elsewhere() -> None:
    async def hangs(peer: Peer) -> None:
        await peer.head()
        await asyncio.Event().wait()

    retry: dict[str, object] = {
        "retryOn": "5xx",
        "numRetries": 2,
        "perTryTimeout": "0.2s",
        "retryHostPredicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typedConfig": {
                    "@type": "type.googleapis.com/"
                    + previous_hosts_pb2.PreviousHostsPredicate.DESCRIPTOR.full_name
                },
            }
        ],
        "hostSelectionRetryMaxAttempts": 5,
    }
    async with (
        running() as mesh,
        upstream(hangs) as slow,
        upstream(None, *[ok(b"x")] * 4) as fast,
    ):
        serve(mesh, retry, slow.port, fast.port)
        for _ in range(4):
            async with client(mesh) as peer:
                assert (await peer.get())[1] == b"x"
    async with running() as mesh, upstream(hangs) as slow:
        serve(mesh, {"retryOn": "", "numRetries": 0, "perTryTimeout": "0.1s"}, slow.port)
        async with client(mesh) as peer:
            assert (await peer.get())[0].split()[1] == b"504"
        (text,) = await mesh.lines(1)
        assert " 504 UT upstream_per_try_timeout " in text


async def test_too_many_requests_are_refused_at_once() -> None:
    release = asyncio.Event()

    async def waits(peer: Peer) -> None:
        await peer.head()
        await release.wait()
        await peer.send(ok(b"x"))

    bounds = {"circuitBreakers": {"thresholds": [{"maxRequests": 1}]}}
    async with running() as mesh, upstream(waits) as server:
        serve(mesh, {"retryOn": "connect-failure"}, server.port, **bounds)
        async with client(mesh) as first, client(mesh) as second:
            await first.send(request())
            await until(lambda: server.connections)
            head, _ = await second.get()
            assert head.split()[1] == b"503"
            assert b"x-envoy-overloaded: true" in head
            release.set()
            assert (await first.response())[1] == b"x"
            (text, _) = await mesh.lines(2)
            assert " 503 UO overflow " in text


async def test_requests_wait_for_one_of_so_many_connections() -> None:
    async def answers(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.send(ok(b"x"))

    bounds = {"circuitBreakers": {"thresholds": [{"maxConnections": 1}]}}
    async with running() as mesh, upstream(answers) as server:
        serve(mesh, {"retryOn": "connect-failure"}, server.port, **bounds)

        async def ask() -> bytes:
            async with client(mesh) as peer:
                return (await peer.get())[1]

        assert await asyncio.gather(*(ask() for _ in range(20))) == [b"x"] * 20
        assert server.connections == 1
        assert counts(mesh) == {Resource.CONNECTIONS: 1}


async def test_an_endpoint_that_fails_is_left_out() -> None:
    detection = {"outlierDetection": {"consecutive5xx": 2, "baseEjectionTime": "100s",
                                      "maxEjectionPercent": 100}}  # fmt: skip
    async with (
        running() as mesh,
        upstream(None, *[UNAVAILABLE] * 9) as bad,
        upstream(None, *[ok(b"x")] * 40) as good,
    ):
        serve(mesh, {"retryOn": "connect-failure"}, bad.port, good.port, **detection)
        async with client(mesh) as peer:
            answers = [(await peer.get())[0].split()[1] for _ in range(30)]
        assert answers.count(b"503") == 2
        assert set(answers[-10:]) == {b"200"}


async def test_copies_go_beside_and_nobody_waits_for_them() -> None:
    copies: list[bytes] = []

    async def copied(peer: Peer) -> None:
        copies.append((await peer.head()) + await peer.exactly(5))
        await asyncio.Event().wait()

    mirror = {"cluster": to("shadow")["cluster"]}
    route = {"match": {"prefix": "/"}, "route": to("web", requestMirrorPolicies=[mirror])}
    async with (
        running() as mesh,
        upstream(None, ok(b"x")) as server,
        upstream(copied) as shadow,
    ):
        mesh.push(service("web", routes("web", host(route))), service("shadow", mine=False))
        mesh.pod("web-0", "web", server.port)
        mesh.pod("shadow-0", "shadow", shadow.port)
        mesh.ask("web")
        async with client(mesh) as peer:
            await peer.send(request("/", "Content-Length: 5", method="POST", body=b"hello"))
            assert (await peer.response())[1] == b"x"
        await until(lambda: copies)
        (copy,) = copies
        assert copy.startswith(b"POST / HTTP/1.1\r\nhost: web-shadow\r\n")
        assert copy.endswith(b"hello")
        assert len(await mesh.lines(1)) == 1
        assert mesh.worker.stats.mirrored == 1


async def test_a_session_stays_where_it_began() -> None:
    policy = [{"cookie": {"name": "who", "ttl": "60s", "path": "/"}}]
    route = {"match": {"prefix": "/"}, "route": to("web", hashPolicy=policy)}
    async with (
        running() as mesh,
        upstream(None, *[ok(b"1")] * 70) as one,
        upstream(None, *[ok(b"2")] * 70) as two,
    ):
        mesh.push(service("web", routes("web", host(route)), settings(lbPolicy="RING_HASH")))
        for number, server in enumerate((one, two)):
            mesh.pod(f"web-{number}", "web", server.port)
        mesh.ask("web")
        # Until the ring has both, the one with the first alone is in force.
        clusters = mesh.worker.targets.clusters.clusters.values()
        await until(lambda: all(cluster.building is None for cluster in clusters))
        seen = set()
        for _ in range(20):
            async with client(mesh) as peer:
                head, first = await peer.get()
                cookie = re.search(rb'set-cookie: (who="[^"]+"); max-age=60; path=/', head)
                assert cookie is not None, head
                line = f"Cookie: {cookie[1].decode()}"
                assert {(await peer.get("/", line))[1] for _ in range(2)} == {first}
                seen.add(first)
        assert seen == {b"1", b"2"}


async def test_answers_of_a_route_and_what_it_adds() -> None:
    added = [{"header": {"key": "x-added", "value": "%REQ(x-in)%"}}]
    entries = (
        {"match": {"path": "/r"}, "redirect": {"hostRedirect": "b", "responseCode": "FOUND"}},
        {"match": {"path": "/d"}, "responseHeadersToAdd": added,
         "directResponse": {"status": 418, "body": {"inlineString": "t"}}},
        {"match": {"prefix": "/"}, "route": to("web", prefixRewrite="/inner"),
         "responseHeadersToAdd": added, "responseHeadersToRemove": ["x-gone"]},
    )  # fmt: skip
    async with running() as mesh, upstream(None, ok(b"x", "X-Gone: 1", "X-Kept: 2")) as server:
        mesh.push(service("web", routes("web", host(*entries))))
        mesh.pod("web-0", "web", server.port)
        mesh.ask("web")
        async with client(mesh) as peer:
            head, _ = await peer.get("/r")
            assert head.startswith(b"http/1.1 302 ")
            assert b"location: http://b/r\r\n" in head
            head, body = await peer.get("/d", "X-In: me")
            assert (head.split()[1], body) == (b"418", b"t")
            assert b"x-added: me\r\n" in head
            head, body = await peer.get("/else", "X-In: you")
            assert body == b"x"
            assert b"x-added: you\r\n" in head
            assert b"x-kept: 2\r\n" in head
            assert b"x-gone" not in head
        assert server.heads[0].startswith(b"GET /inner")


async def test_a_session_that_was_not_used_for_long_begins_anew() -> None:
    idle = {"filterMetadata": {"tandem.io/session": {"idle_seconds": 60}}}
    route = {
        "match": {"prefix": "/"},
        "route": to("web", timeout="0s"),
        "typedPerFilterConfig": session("x-who"),
        "metadata": idle,
    }
    async with (
        running() as mesh,
        upstream(None, *[ok(b"1")] * 30) as one,
        upstream(None, *[ok(b"2")] * 30) as two,
    ):
        mesh.push(service("web", routes("web", host(route))))
        for number, server in enumerate((one, two)):
            mesh.pod(f"web-{number}", "web", server.port)
        mesh.ask("web")

        async def asked(ago: int) -> list[bytes]:
            """The heads that a client gets who used the first endpoint so long ago."""
            words = f"127.0.0.1:{one.port} 0 {int(time.time()) - ago}"
            note = base64.urlsafe_b64encode(words.encode()).decode()
            async with client(mesh) as peer:
                return [(await peer.get("/", f"x-who: {note}"))[0] for _ in range(20)]

        # It lasts as long as it is used, and every use counts.
        assert all(b"\r\nx-who: " in head for head in await asked(30))
        assert (len(one.heads), len(two.heads)) == (20, 0)
        await asked(90)
        assert len(two.heads) > 0


def session(name: str) -> dict[str, object]:
    """A route's own settings: a header that keeps clients with their endpoints."""
    place = "type.googleapis.com/envoy.extensions"
    state = f"{place}.http.stateful_session.header.v3.HeaderBasedSessionState"
    kind = f"{place}.filters.http.stateful_session.v3.StatefulSessionPerRoute"
    kept = {"sessionState": {"name": "h", "typedConfig": {"@type": state, "name": name}}}
    return {"envoy.filters.http.stateful_session": {"@type": kind, "statefulSession": kept}}


async def test_a_client_is_kept_with_its_endpoint_whatever_the_weights() -> None:
    shares = [
        {"name": to("web")["cluster"], "weight": 1},
        {"name": to("other")["cluster"], "weight": 99},
    ]
    route = {
        "match": {"prefix": "/"},
        "route": {"weightedClusters": {"clusters": shares}, "timeout": "0s"},
        "typedPerFilterConfig": session("x-who"),
    }
    async with (
        running() as mesh,
        upstream(None, *[ok(b"1")] * 30) as one,
        upstream(None, *[ok(b"2")] * 30) as two,
        upstream(None, *[ok(b"3")] * 30) as three,
    ):
        mesh.push(service("web", routes("web", host(route))), service("other", mine=False))
        for number, server in enumerate((one, two)):
            mesh.pod(f"web-{number}", "web", server.port)
        mesh.pod("other-0", "other", three.port)
        mesh.ask("web")
        for server in (one, two, three):
            note = base64.urlsafe_b64encode(f"127.0.0.1:{server.port}".encode()).decode()
            async with client(mesh) as peer:
                found = [await peer.get("/", f"x-who: {note}") for _ in range(5)]
            assert len({body for _, body in found}) == 1
            # It knows that already.
            assert not any(b"x-who" in head for head, _ in found)
        assert [len(server.heads) for server in (one, two, three)] == [5, 5, 5]
        async with client(mesh) as peer:
            head, _ = await peer.get("/", "x-who: " + base64.b64encode(b"10.9.9.9:1").decode())
            assert b"\r\nx-who: " in head
