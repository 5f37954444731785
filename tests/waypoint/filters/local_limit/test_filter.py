"""Local limits as clients meet them, over real connections."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import (
    LocalRateLimit,
)
from google.protobuf import json_format

from tests.waypoint.filters.beside import Case, Seen, beside
from tests.waypoint.mesh import Mesh, filters, host, routes, running, service, to
from tests.waypoint.wire import Peer, Upstream, client, upstream
from waypoint.filters.local_limit.shared import make_buckets

LIMIT = LocalRateLimit.DESCRIPTOR.full_name
ALL = {"defaultValue": {"numerator": 100}}
NONE = {"defaultValue": {"numerator": 0}}
ON = {"statPrefix": "x", "filterEnabled": ALL, "filterEnforced": ALL}
HOUR = "3600s"


def bucket(size: int, interval: str = HOUR) -> dict[str, Any]:
    return {"maxTokens": size, "fillInterval": interval}


def own(given: dict[str, Any]) -> dict[str, Any]:
    """A route's settings."""
    value = {"@type": f"type.googleapis.com/{LIMIT}", **ON, **given}
    return {"typedPerFilterConfig": {LIMIT: value}}


def by_header(name: str) -> dict[str, Any]:
    action = {"requestHeaders": {"headerName": name, "descriptorKey": name}}
    return {"actions": [action]}


def only(*pairs: tuple[str, str], size: int = 1) -> dict[str, Any]:
    entries = [{"key": key, "value": value} for key, value in pairs]
    return {"entries": entries, "tokenBucket": bucket(size)}


def push(
    mesh: Mesh, limit: dict[str, Any], *entries: dict[str, Any], **host_fields: object
) -> None:
    """A service with a limit, and these routes before the one to it."""
    rules = [*entries, {"match": {"prefix": "/"}, "route": to("web"), "name": "rest"}]
    message = json_format.ParseDict(limit, LocalRateLimit())
    table = routes("web", {**host(*rules), **host_fields})
    mesh.push(service("web", table, filters("web", message)))


@asynccontextmanager
async def served(
    limit: dict[str, Any], *entries: dict[str, Any], **host_fields: object
) -> AsyncIterator[tuple[Mesh, Upstream]]:
    async with running() as mesh, upstream() as server:
        push(mesh, limit, *entries, **host_fields)
        mesh.pod("web-1", "web", server.port)
        mesh.ask("web")
        yield mesh, server


async def statuses(peer: Peer, count: int, path: str = "/", *lines: str) -> list[int]:
    return [int((await peer.get(path, *lines))[0][9:12]) for _ in range(count)]


async def test_what_is_over_is_refused_and_told_when_to_come_again() -> None:
    limit = {**ON, "tokenBucket": bucket(2), "enableXRatelimitHeaders": "DRAFT_VERSION_03"}
    async with served(limit) as (mesh, server), client(mesh) as peer:
        for left in (1, 0):
            head, body = await peer.get("/")
            assert (head[9:12], body) == (b"200", b"hello")
            assert b"x-ratelimit-limit: 2\r\n" in head
            assert b"x-ratelimit-remaining: %d\r\n" % left in head
        head, body = await peer.get("/")
        assert (head[9:12], body) == (b"429", b"local_rate_limited")
        assert b"x-ratelimit-remaining: 0\r\n" in head
        (after,) = [line for line in head.split(b"\r\n") if line.startswith(b"retry-after")]
        assert 3590 < int(after.split()[1]) <= 3600
        assert len(server.heads) == 2
        assert " 429 RL local_rate_limited " in (await mesh.lines(3))[2]
        assert mesh.worker.stats.filters == {
            "x.http_local_rate_limit.enabled": 3,
            "x.http_local_rate_limit.ok": 2,
            "x.http_local_rate_limit.rate_limited": 1,
            "x.http_local_rate_limit.enforced": 1,
        }


async def test_what_is_not_enforced_is_marked_and_passes() -> None:
    mark = [{"header": {"key": "x-over", "value": "%REQ(x-user)%"}}]
    limit = {
        **ON, "filterEnforced": NONE, "tokenBucket": bucket(1),
        "requestHeadersToAddWhenNotEnforced": mark,
    }  # fmt: skip
    async with served(limit) as (mesh, server), client(mesh) as peer:
        assert await statuses(peer, 2, "/", "x-user: ann") == [200, 200]
        assert [b"x-over: ann\r\n" in head for head in server.heads] == [False, True]
        assert "x.http_local_rate_limit.enforced" not in mesh.worker.stats.filters


async def test_grpc_callers_and_answers_of_one_s_own() -> None:
    mine = [
        {"header": {"key": "retry-after", "value": "7"}},
        {"header": {"key": "x-limited", "value": "yes"}},
    ]
    limit = {
        **ON, "tokenBucket": bucket(1), "status": {"code": 503},
        "rateLimitedAsResourceExhausted": True, "responseHeadersToAdd": mine,
    }  # fmt: skip
    async with served(limit) as (mesh, _), client(mesh) as peer:
        head, _ = await peer.get("/")
        assert b"x-limited" not in head
        head, _ = await peer.get("/", "content-type: application/grpc")
        assert (head[9:12], b"grpc-status: 8\r\n" in head) == (b"200", True)
        head, _ = await peer.get("/")
        assert head[9:12] == b"503"
        assert head.count(b"retry-after") == 1
        assert b"retry-after: 7\r\n" in head
        assert b"x-limited: yes\r\n" in head


async def test_routes_hosts_and_services_have_buckets_of_their_own() -> None:
    a = {"match": {"prefix": "/a"}, "route": to("web"), "name": "a"}
    b = {"match": {"prefix": "/b"}, "route": to("web"), "name": "b"}
    limited = own({"tokenBucket": bucket(1)})
    async with served({"statPrefix": "x"}, {**a, **limited}, {**b, **limited}) as (mesh, _):
        async with client(mesh) as peer:
            assert await statuses(peer, 2, "/a") == [200, 429]
            assert await statuses(peer, 2, "/b") == [200, 429]
            assert await statuses(peer, 3, "/") == [200] * 3
        # One for all routes of the host.
        push(mesh, {"statPrefix": "x"}, a, b, **own({"tokenBucket": bucket(2)}))
        async with client(mesh) as peer:
            found = [await statuses(peer, 1, path) for path in ("/a", "/b", "/", "/a")]
            assert found == [[200], [200], [429], [429]]


async def test_a_push_that_leaves_a_bucket_alone_doesn_t_fill_it() -> None:
    limit = {**ON, "tokenBucket": bucket(2)}
    a = {"match": {"prefix": "/a"}, "route": to("web"), "name": "a"}
    limited = {**a, **own({"tokenBucket": bucket(1)})}
    async with served(limit, limited) as (mesh, _), client(mesh) as peer:
        assert await statuses(peer, 3) == [200, 200, 429]
        assert await statuses(peer, 2, "/a") == [200, 429]
        other = {"match": {"prefix": "/new"}, "route": to("web"), "name": "new"}
        push(mesh, {**limit, "statPrefix": "y"}, other, limited)
        assert await statuses(peer, 1) == [429]
        assert await statuses(peer, 1, "/a") == [429]
        push(mesh, {**limit, "tokenBucket": bucket(3)}, limited)
        assert await statuses(peer, 4) == [200, 200, 200, 429]


async def test_descriptors_by_header_path_and_caller() -> None:
    caller = {
        "metadata": {
            "descriptorKey": "caller",
            "metadataKey": {"key": "tandem.io/source", "path": [{"key": "principal"}]},
        }
    }
    rates = [by_header("x-user"), by_header(":path"), {"actions": [caller]}]
    spiffe = "spiffe://cluster.local/ns/apps/sa/default"
    limit = {
        **ON,
        "tokenBucket": bucket(100),
        "descriptors": [
            only(("x-user", ""), size=2),
            only((":path", "/costly")),
            only(("caller", spiffe), size=6),
        ],
        "rateLimits": rates,
    }
    async with served(limit) as (mesh, _), client(mesh) as peer:
        assert await statuses(peer, 3, "/", "x-user: ann") == [200, 200, 429]
        assert await statuses(peer, 1, "/", "x-user: bob") == [200]
        assert await statuses(peer, 2, "/costly") == [200, 429]
        # Buckets of one rate are asked in the order of descriptors, so the caller's gave
        # tokens to the four that weren't stopped before it.
        assert await statuses(peer, 3) == [200, 200, 429]


async def test_routes_say_what_requests_count_as() -> None:
    limit = {**ON, "tokenBucket": bucket(100), "descriptors": [only(("x-user", "ann"))]}
    entry = {
        "match": {"prefix": "/a"},
        "route": to("web", rateLimits=[by_header("x-user")]),
    }
    staged = {
        "match": {"prefix": "/b"},
        "route": to("web", rateLimits=[{"stage": 1, **by_header("x-user")}]),
    }
    async with served(limit, entry, staged) as (mesh, _), client(mesh) as peer:
        assert await statuses(peer, 2, "/b", "x-user: ann") == [200, 200]
        assert await statuses(peer, 2, "/a", "x-user: ann") == [200, 429]
        assert await statuses(peer, 2, "/a", "x-user: bob") == [200, 200]
        assert await statuses(peer, 2, "/", "x-user: ann") == [200, 200]


async def test_connections_may_have_buckets_of_their_own() -> None:
    limit = {
        **ON, "tokenBucket": bucket(2), "localRateLimitPerDownstreamConnection": True,
    }  # fmt: skip
    async with served(limit) as (mesh, _):
        for _ in range(2):
            async with client(mesh) as peer:
                assert await statuses(peer, 3) == [200, 200, 429]


async def test_buckets_of_values_are_bounded_and_what_had_to_go_is_counted() -> None:
    limit = {
        **ON,
        "tokenBucket": bucket(1000),
        "descriptors": [only(("x-user", ""))],
        "rateLimits": [by_header("x-user")],
    }
    async with served(limit) as (mesh, _), client(mesh) as peer:
        mesh.worker.buckets.dynamic.rows = 1
        for number in range(20):
            assert await statuses(peer, 1, "/", f"x-user: {number}") == [200]
        assert mesh.worker.stats.filters["x.http_local_rate_limit.evicted"] == 4
        # Who came last is still known.
        assert await statuses(peer, 1, "/", "x-user: 19") == [429]
        assert mesh.worker.buckets.dump() == {"evicted": 4, "recovered": 0}
        # The same within a connection's own.
        push(mesh, {**limit, "localRateLimitPerDownstreamConnection": True})
        for number in range(260):
            assert await statuses(peer, 1, "/", f"x-user: {number}") == [200]
        assert await statuses(peer, 1, "/", "x-user: 259") == [429]
        assert mesh.worker.stats.filters["x.http_local_rate_limit.evicted"] == 4 + 5


async def test_one_bucket_for_two_waypoints_of_the_same_memory() -> None:
    buckets = make_buckets()
    limit = {**ON, "tokenBucket": bucket(3)}
    got: list[int] = []
    for _ in range(2):
        async with running(buckets=buckets) as mesh, upstream() as server:
            push(mesh, limit)
            mesh.pod("web-1", "web", server.port)
            mesh.ask("web")
            async with client(mesh) as peer:
                got += await statuses(peer, 2)
    assert got == [200, 200, 200, 429]


async def test_who_keeps_a_bucket_s_lock_doesn_t_stop_the_others() -> None:
    limit = {**ON, "tokenBucket": bucket(3)}
    async with served(limit) as (mesh, _), client(mesh) as peer, client(mesh) as other:
        assert await statuses(peer, 1) == [200]
        locks = mesh.worker.buckets.locks
        held = [number for number in range(locks.count) if locks.take(number)]
        assert len(held) == locks.count
        await peer.send(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        # Nobody is kept from being served meanwhile: this one isn't limited at all.
        push(mesh, {"statPrefix": "x"})
        assert await statuses(other, 1) == [200]
        for number in held:
            locks.give(number)
        assert (await peer.response())[0][9:12] == b"200"


async def test_what_can_t_be_counted_doesn_t_pass() -> None:
    limit = {**ON, "tokenBucket": bucket(3)}
    async with served(limit) as (mesh, _), client(mesh) as peer:
        locks = mesh.worker.buckets.locks
        held = [number for number in range(locks.count) if locks.take(number)]
        assert await statuses(peer, 1) == [429]
        assert mesh.worker.stats.filters["x.http_local_rate_limit.busy"] == 1
        for number in held:
            locks.give(number)
        assert await statuses(peer, 1) == [200]


TELLS = {**ON, "enableXRatelimitHeaders": "DRAFT_VERSION_03"}
FOUR: tuple[tuple[str, ...], ...] = ((),) * 4
GRPC = "content-type: application/grpc"
ANN, BOB = ("x-user: ann",), ("x-user: bob",)
TURNS = (ANN, ANN, BOB, ANN, BOB, (), ANN, ("x-user: cid", "x-plan: gold"), BOB)
USERS = [by_header("x-user")]
BOTH = [
    {"actions": [*by_header("x-user")["actions"], *by_header("x-plan")["actions"]]},
    by_header("x-plan"),
    by_header("x-user"),
]
MARKS = {
    "responseHeadersToAdd": [{"header": {"key": "x-limited", "value": "yes"}}],
    "requestHeadersToAddWhenNotEnforced": [{"header": {"key": "x-over", "value": "yes"}}],
}


def limited(*pairs: tuple[str, str], size: int, interval: str = HOUR) -> dict[str, Any]:
    return {**only(*pairs), "tokenBucket": bucket(size, interval)}


CASES = [
    Case({"statPrefix": "x", "tokenBucket": bucket(1)}, FOUR),
    Case({**ON, "filterEnforced": NONE, **MARKS, "tokenBucket": bucket(1)}, FOUR),
    Case({**ON, "filterEnabled": NONE, **MARKS, "tokenBucket": bucket(1)}, FOUR),
    Case({**TELLS, "filterEnforced": NONE, "tokenBucket": bucket(2)}, FOUR),
    Case({**TELLS, **MARKS, "tokenBucket": bucket(3)}, (*FOUR, (GRPC,))),
    Case(
        {**TELLS, "tokenBucket": bucket(3), "rateLimitedAsResourceExhausted": True},
        (*FOUR, (GRPC,)),
    ),
    *(
        Case({**ON, "status": {"code": code}, "tokenBucket": bucket(1)}, FOUR[:2])
        for code in (200, 302, 401, 429, 503)
    ),
    Case({**TELLS, "tokenBucket": {**bucket(10), "tokensPerFill": 5}}, FOUR),
    *(
        Case(
            {
                **TELLS,
                "tokenBucket": bucket(size),
                "descriptors": [limited(("x-user", "ann"), size=2, interval=interval)],
                "rateLimits": USERS,
                "alwaysConsumeDefaultTokenBucket": always,
            },
            TURNS,
        )
        for size in (3, 20)
        for interval in (HOUR, "7200s")
        for always in (True, False)
    ),
    *(
        Case(
            {
                **TELLS,
                "tokenBucket": bucket(20, "1800s"),
                "descriptors": [
                    limited(("x-user", ""), size=2),
                    limited(("x-user", "ann"), size=3),
                    limited(("x-plan", "gold"), size=1, interval="1800s"),
                    limited(("x-user", "cid"), ("x-plan", ""), size=4),
                ],
                "rateLimits": rates,
                "alwaysConsumeDefaultTokenBucket": always,
            },
            TURNS * 2,
        )
        for rates in (USERS, BOTH)
        for always in (True, False)
    ),
    Case({**TELLS, "tokenBucket": bucket(2), "descriptors": [only(("x-user", "ann"))]}, TURNS),
    Case(
        {**TELLS, "tokenBucket": bucket(3), "localRateLimitPerDownstreamConnection": True},
        FOUR,
    ),
]


VALUES = {"user": ("ann", "bob", "cid"), "plan": ("gold", "free"), "team": ("a",)}


def drawn(draw: random.Random) -> Case:
    """Random descriptors, actions and requests."""
    found: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for _ in range(draw.randrange(5)):
        keys = draw.sample(sorted(VALUES), draw.randint(1, 2))
        # Of two that stand for any value Envoy takes one, and doesn't say which.
        pairs = tuple((f"x-{key}", draw.choice(VALUES[key])) for key in keys)
        if draw.random() < 0.3 and not any(v == "" for p in found for _, v in p):
            pairs = (*pairs[:-1], (pairs[-1][0], ""))
        # Buckets of one rate have no order with Envoy.
        hours = 3600 * (len(found) + 1)
        found[pairs] = limited(*pairs, size=draw.randint(1, 4), interval=f"{hours}s")
    rates = []
    for _ in range(draw.randrange(4)):
        keys = draw.sample(sorted(VALUES), draw.randint(1, 2))
        actions = [by_header(f"x-{key}")["actions"][0] for key in keys]
        for action in actions:
            action["requestHeaders"]["skipIfAbsent"] = draw.random() < 0.3
        rates.append({"actions": actions})
    requests = tuple(
        tuple(f"x-{k}: {draw.choice(v)}" for k, v in VALUES.items() if draw.random() < 0.6)
        for _ in range(12)
    )
    settings = {
        **TELLS,
        "filterEnforced": draw.choice((ALL, ALL, ALL, NONE)),
        "tokenBucket": bucket(draw.randint(1, 12), "1800s"),
        "descriptors": list(found.values()),
        "rateLimits": rates,
        "alwaysConsumeDefaultTokenBucket": draw.random() < 0.5,
    }
    return Case(settings, requests)


async def agree(cases: list[Case]) -> None:
    found = await beside(LocalRateLimit, cases)
    for case, (theirs, ours) in zip(cases, found, strict=True):
        assert [plain(each) for each in ours] == [plain(each) for each in theirs], case


async def test_envoy_answers_the_same() -> None:
    await agree(CASES)


async def test_envoy_answers_the_same_to_random_ones() -> None:
    draw = random.Random(11)
    await agree([drawn(draw) for _ in range(100)])


@pytest.mark.soak
async def test_envoy_answers_the_same_to_many_random_ones() -> None:
    draw = random.Random(12)
    for _ in range(10):
        await agree([drawn(draw) for _ in range(200)])


def plain(seen: Seen) -> Seen:
    """A response; a second more or less until the next token is the clock's."""
    reset = "x-ratelimit-reset"
    fields = tuple(
        (name, str(round(int(value), -1)) if name == reset else value)
        for name, value in seen.fields
    )
    return seen._replace(fields=fields)
