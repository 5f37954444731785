"""Requests through a waypoint that asks a rate limit service, over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import (
    RateLimit,
    RateLimitPerRoute,
)
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf.json_format import ParseDict

from tests.waypoint.filters.servers import rate_limits
from tests.waypoint.http2.peers import client2
from tests.waypoint.mesh import (
    HTTP_PORT,
    Mesh,
    filters,
    host,
    hostname,
    override,
    routes,
    running,
    service,
    to,
    until,
)
from tests.waypoint.wire import client, ok, request, upstream
from waypoint.filters.room import MOST
from ztunnel_compat.model import AppProtocol

NAME = RateLimit.DESCRIPTOR.full_name
RLS = f"outbound|{HTTP_PORT}||{hostname('rls')}"
SLOW = [{"user": "slow"}]
OK = RateLimitResponse(overall_code=RateLimitResponse.OK)
MINUTE = {
    "code": "OVER_LIMIT",
    "current_limit": {"name": "m", "requests_per_unit": 5, "unit": "MINUTE"},
    "duration_until_reset": "29.5s",
}
SECOND = {
    "code": "OK",
    "current_limit": {"requests_per_unit": 9, "unit": "SECOND"},
    "limit_remaining": 3,
}
OVER = ParseDict(
    {"overall_code": "OVER_LIMIT", "statuses": [SECOND, MINUTE], "raw_body": "c2xvdw=="},
    RateLimitResponse(),
)


def key(value: str, **more: Any) -> dict[str, Any]:
    return {"actions": [{"generic_key": {"descriptor_value": value}}], **more}


BY_HOST = {
    "actions": [{"request_headers": {"header_name": "x-user", "descriptor_key": "user"}}]
}


def settings(timeout: str = "5s", **more: Any) -> RateLimit:
    asked = {"grpc_service": {"envoy_grpc": {"cluster_name": RLS}, "timeout": timeout}}
    given = {"domain": "shop", "rate_limit_service": asked, **more}
    return ParseDict(given, RateLimit())


#: What keeps a client with an endpoint adds a field to the response, too.
STICKY = [{"cookie": {"name": "kept", "ttl": "0s"}}]


def per_route(**given: Any) -> dict[str, Any]:
    return override(NAME, ParseDict(given, RateLimitPerRoute()))


@asynccontextmanager
async def served(
    config: RateLimit, port: int, **route: Any
) -> AsyncIterator[tuple[Mesh, list[bytes]]]:
    """A service behind a rate limit service at a port; what its endpoint gets."""
    async with running() as mesh, upstream(None, ok()) as server:
        entries = [
            {
                "match": {"prefix": "/v2"},
                "route": to("web", rate_limits=[key("v2")], hash_policy=STICKY),
                **route,
            },
            {"match": {"prefix": "/none"}, "route": to("web"), **per_route(vh_rate_limits=2)},
            {"match": {"prefix": "/"}, "route": to("web")},
        ]
        limited = {**host(*entries), "rate_limits": [BY_HOST]}
        mesh.push(
            service("web", routes("web", limited), filters("web", config)),
            service("rls", mine=False, speaks=AppProtocol.GRPC),
        )
        mesh.pod("web-1", "web", server.port)
        mesh.pod("rls-1", "rls", port)
        mesh.ask("web")
        assert mesh.worker.targets.errors() == {}
        yield mesh, server.heads


def told(asked: RateLimitRequest) -> list[dict[str, str]]:
    return [{e.key: e.value for e in d.entries} for d in asked.descriptors]


@pytest.mark.parametrize(
    ("path", "route", "domain", "expected"),
    [
        ("/", {}, "shop", [{"user": "ann"}]),
        ("/v2", {}, "shop", [{"generic_key": "v2"}]),
        ("/none", {}, "", None),
        (
            "/v2",
            per_route(vh_rate_limits="INCLUDE", domain="other"),
            "other",
            [{"generic_key": "v2"}, {"user": "ann"}],
        ),
        ("/v2", per_route(rate_limits=[key("own")]), "shop", [{"generic_key": "own"}]),
    ],
)
async def test_the_service_is_asked_for_what_a_request_counts_as(
    path: str, route: Any, domain: str, expected: Any
) -> None:
    async with (
        rate_limits(OK) as asked,
        served(settings(), asked.port, **route) as (mesh, _),
        client(mesh) as peer,
    ):
        assert (await peer.get(path, "X-User: ann"))[1] == b"hello"
        assert [told(each) for each in asked.requests] == (
            [] if expected is None else [expected]
        )
        assert {each.domain for each in asked.requests} == ({domain} if domain else set())
        assert mesh.worker.stats.filters == ({"ratelimit.ok": 1} if domain else {})


async def test_a_request_that_counts_as_nothing_asks_nobody() -> None:
    async with (
        rate_limits(OVER) as asked,
        served(settings(), asked.port) as (mesh, _),
        client(mesh) as peer,
    ):
        assert (await peer.get("/"))[1] == b"hello"
        assert asked.requests == []


async def test_a_request_over_the_limit_is_told_when_to_come_again() -> None:
    more = {
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "response_headers_to_add": [{"header": {"key": "x-why", "value": "%REQ(x-user)%"}}],
    }
    async with (
        rate_limits(OVER) as asked,
        served(settings(**more), asked.port) as (mesh, seen),
        client(mesh) as peer,
    ):
        head, body = await peer.get("/v2", "X-User: ann")
        assert head.startswith(b"http/1.1 429")
        assert body == b"slow"
        for field in (
            b"retry-after: 30", b"x-envoy-ratelimited: true", b"x-why: ann",
            b'x-ratelimit-limit: 5, 9;w=1, 5;w=60;name="m"',
            b"x-ratelimit-remaining: 0", b"x-ratelimit-reset: 29",
        ):  # fmt: skip
            assert field in head
        assert seen == []
        assert " 429 RL request_rate_limited " in (await mesh.lines(1))[0]
        assert mesh.worker.stats.filters == {"ratelimit.over_limit": 1}


@pytest.mark.parametrize(
    ("more", "grpc_status"),
    [({}, b"14"), ({"rate_limited_as_resource_exhausted": True}, b"8")],
)
async def test_grpc_callers_are_told_in_their_way(
    more: dict[str, Any], grpc_status: bytes
) -> None:
    async with (
        rate_limits(OVER) as asked,
        served(settings(**more), asked.port) as (mesh, _),
        client(mesh) as peer,
    ):
        head, _ = await peer.get("/v2", "Content-Type: application/grpc")
        assert b"grpc-status: " + grpc_status + b"\r\n" in head


async def test_what_the_service_adds_reaches_endpoint_and_client() -> None:
    answer = ParseDict(
        {
            "overall_code": "OK",
            "response_headers_to_add": [{"key": "X-Told", "value": "1"}],
            "request_headers_to_add": [
                {"key": "X-Tier", "value": "gold"},
                {"key": "content-length", "value": "7"},
            ],
        },
        RateLimitResponse(),
    )
    async with (
        rate_limits(answer) as asked,
        served(settings(), asked.port) as (mesh, seen),
        client(mesh) as peer,
    ):
        head, _ = await peer.get("/v2", "x-tier: tin")
        assert b"x-told: 1" in head
        assert b"set-cookie: kept=" in head
        assert b"x-tier: gold" in seen[0].lower()
        assert b"tin" not in seen[0]
        assert b"content-length" not in seen[0].lower()


async def aborts(_request: Any, context: grpc.aio.ServicerContext) -> Any:
    await context.abort(grpc.StatusCode.INTERNAL, "broken")


BAD = ParseDict(
    {"overall_code": "OK", "response_headers_to_add": [{"key": "a b"}]}, RateLimitResponse()
)


@pytest.mark.parametrize("answer", [aborts, BAD], ids=["abort", "name"])
async def test_without_an_answer_it_is_open_or_closed_by_choice(answer: Any) -> None:
    async with rate_limits(answer) as asked:
        async with served(settings(), asked.port) as (mesh, _), client(mesh) as peer:
            assert (await peer.get("/v2"))[1] == b"hello"
            assert mesh.worker.stats.filters == {
                "ratelimit.error": 1, "ratelimit.failure_mode_allowed": 1
            }  # fmt: skip
        closed = settings(failure_mode_deny=True)
        async with served(closed, asked.port) as (mesh, seen), client(mesh) as peer:
            assert (await peer.get("/v2"))[0].startswith(b"http/1.1 500")
            assert seen == []
            assert " 500 RLSE rate_limiter_error " in (await mesh.lines(1))[0]
    dead = settings(failure_mode_deny=True, status_on_error={"code": 503})
    async with served(dead, 1) as (mesh, _), client(mesh) as peer:
        assert (await peer.get("/v2"))[0].startswith(b"http/1.1 503")


async def test_a_slow_service_stalls_nobody_else() -> None:
    free = asyncio.Event()

    async def slow(asked: RateLimitRequest, _context: Any) -> RateLimitResponse:
        if told(asked) == SLOW:
            await free.wait()
        return OK

    async with (
        rate_limits(slow) as asked,
        served(settings(), asked.port) as (mesh, _),
        client(mesh) as waiting,
        client(mesh) as peer,
    ):
        await waiting.send(request("/", "X-User: slow"))
        await until(lambda: asked.requests)
        for _ in range(5):
            assert (await peer.get("/", "X-User: ann"))[1] == b"hello"
        async with client2(mesh) as two:
            held = await two.get("/", ("x-user", "slow"))
            await until(lambda: [told(each) for each in asked.requests].count(SLOW) == 2)
            for _ in range(5):
                answer = await two.response(await two.get("/", ("x-user", "ann")))
                assert answer[1] == b"hello"
            free.set()
            assert (await two.response(held))[1] == b"hello"
        assert (await waiting.response())[1] == b"hello"
    free.clear()
    async with (
        rate_limits(slow) as asked,
        served(settings("0.05s"), asked.port) as (mesh, _),
        client(mesh) as peer,
    ):
        assert (await peer.get("/", "X-User: slow"))[1] == b"hello"
        assert mesh.worker.stats.filters["ratelimit.error"] == 1
        free.set()


async def test_what_is_not_enforced_is_counted_and_questions_have_a_bound() -> None:
    none = {"default_value": {"numerator": 0}}
    async with rate_limits(OVER) as asked:
        async with (
            served(settings(filter_enforced=none), asked.port) as (mesh, _),
            client(mesh) as peer,
        ):
            assert (await peer.get("/v2"))[1] == b"hello"
            assert mesh.worker.stats.filters == {"ratelimit.over_limit_allowed": 1}
            (chain,) = [
                t.chain for t in mesh.worker.targets.by_hash.values() if t.chain.filters
            ]
            room = chain.filters[0].filter.room
            assert room.taken == 0
            room.taken = MOST
            assert (await peer.get("/v2"))[1] == b"hello"
            assert mesh.worker.stats.filters["ratelimit.overflow"] == 1
            room.taken = 0
        async with (
            served(settings(filter_enabled=none), asked.port) as (mesh, _),
            client(mesh) as peer,
        ):
            assert (await peer.get("/v2"))[1] == b"hello"
        assert len(asked.requests) == 1
