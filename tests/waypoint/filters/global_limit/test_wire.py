"""What the service is asked, and what becomes of a request, beside a real Envoy's filter."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimit
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitResponse
from google.protobuf.json_format import MessageToDict, ParseDict

from tests.support.envoy import EXTENSIONS, bootstrap, cluster, envoy, http_listener
from tests.waypoint.filters.ext_authz.test_verdict import Outcome, outcome
from tests.waypoint.filters.global_limit.test_filter import (
    MINUTE,
    RLS,
    SECOND,
    key,
    settings,
)
from tests.waypoint.filters.servers import Asked, rate_limits
from tests.waypoint.mesh import HTTP_PORT, filters, host, hostname, routes, running, service, to
from tests.waypoint.wire import Peer, client, ok, upstream
from ztunnel_compat.model import AppProtocol

WEB = f"outbound|{HTTP_PORT}||{hostname('web')}"


def header(name: str, **more: Any) -> dict[str, Any]:
    return {"request_headers": {"header_name": name, "descriptor_key": "h", **more}}


def value_match(name: str, **more: Any) -> dict[str, Any]:
    exact = {"name": name, "string_match": {"exact": "me"}}
    return {"header_value_match": {"descriptor_value": "v", "headers": [exact], **more}}


def query_match(value: str, **more: Any) -> dict[str, Any]:
    exact = {"name": "b", "string_match": {"exact": value}}
    match = {"descriptor_value": "v", "query_parameters": [exact], **more}
    return {"query_parameter_value_match": match}


PLAIN = {"generic_key": {"descriptor_value": "g"}}
PARAMETER = {"query_parameter_name": "b", "descriptor_key": "q"}
NO_PARAMETER = {"query_parameter_name": "z", "descriptor_key": "q"}
NOTED = {"key": "x", "path": [{"key": "y"}]}
#: What each limit's actions are; a request has X-User: me, two Accepts and ?a=…&b=2&e=.
#: Where all actions are skipped Envoy sends a descriptor of nothing, and hits it sends for
#: limits of its filters only: both not here, on purpose.
ACTIONS: list[list[dict[str, Any]]] = [
    [PLAIN],
    [{"generic_key": {"descriptor_value": "g", "descriptor_key": "k"}}, PLAIN],
    [{"remote_address": {}}],
    [{"masked_remote_address": {}}],
    [{"masked_remote_address": {"v4_prefix_mask_len": 12}}],
    [{"destination_cluster": {}}],
    [header("x-user")],
    [header("X-User"), header(":path")],
    [header("accept")],
    [header("none"), PLAIN],
    [header("none", skip_if_absent=True), PLAIN],
    [value_match("x-user")],
    [value_match("x-user", expect_match=False)],
    [value_match("none", expect_match=False, descriptor_key="k")],
    [query_match("2")],
    [query_match("3", expect_match=False)],
    [query_match("3")],
    [{"query_parameters": PARAMETER}],
    [{"query_parameters": NO_PARAMETER}],
    [{"query_parameters": {**NO_PARAMETER, "skip_if_absent": True}}, PLAIN],
    [{"metadata": {"descriptor_key": "m", "metadata_key": NOTED,
                   "default_value": "d"}}],
    [{"metadata": {"descriptor_key": "m", "metadata_key": NOTED}},
     PLAIN],
]  # fmt: skip
FIELDS = [{"key": "X-Told", "value": "1"}]
ANSWERS: list[dict[str, Any]] = [
    {"overall_code": "OK"},
    {"overall_code": "OK", "statuses": [SECOND, MINUTE]},
    {"overall_code": "OVER_LIMIT"},
    {"overall_code": "OVER_LIMIT", "statuses": [SECOND, MINUTE, {"code": "OK"}]},
    {"overall_code": "OVER_LIMIT", "response_headers_to_add": FIELDS, "raw_body": "c2xvdw=="},
    {"overall_code": "OK", "response_headers_to_add": FIELDS},
    {"overall_code": "OK", "request_headers_to_add": FIELDS},
]


@asynccontextmanager
async def beside(
    config: RateLimit, asked: Asked, limits: list[dict[str, Any]]
) -> AsyncIterator[tuple[Peer, Peer, list[bytes]]]:
    """A client of each of the two, ours first, and what their endpoint gets."""
    seen: list[bytes] = []

    async def serve(peer: Peer) -> None:
        while True:
            seen.append((await peer.head()).lower())
            await peer.send(ok())

    async with running() as mesh, upstream(serve) as server:
        entry = {"match": {"prefix": "/"}, "route": to("web", rate_limits=limits)}
        mesh.push(
            service("web", routes("web", host(entry)), filters("web", config)),
            service("rls", mine=False, speaks=AppProtocol.GRPC),
        )
        mesh.pod("web-1", "web", server.port)
        mesh.pod("rls-1", "rls", asked.port)
        mesh.ask("web")
        assert mesh.worker.targets.errors() == {}
        listener = http_listener("l", {"virtualHosts": [host(entry)]})
        manager = listener["filterChains"][0]["filters"][0]["typedConfig"]
        kind = f"{EXTENSIONS}.http.ratelimit.v3.RateLimit"
        given = {"@type": kind, **MessageToDict(config)}
        manager["httpFilters"].insert(0, {"name": "limit", "typedConfig": given})
        rls = cluster(RLS, asked.port) | {"http2ProtocolOptions": {}}
        start = bootstrap([listener], [cluster(WEB, server.port), rls])
        async with envoy(json.loads(json.dumps(start))) as ports:
            theirs = Peer(*await asyncio.open_connection("127.0.0.1", ports["l"]))
            try:
                async with client(mesh) as mine:
                    yield mine, theirs, seen
            finally:
                await theirs.close()


async def both(
    mine: Peer, theirs: Peer, seen: list[bytes], path: str = "/p?a=1&b=2&e="
) -> tuple[Outcome, Outcome]:
    """What becomes of a request here and there."""
    found = await outcome(mine, seen, path)
    found.fields.pop("retry-after", None)
    return found, await outcome(theirs, seen, path)


async def test_what_the_service_is_asked() -> None:
    limits = [{"actions": actions} for actions in ACTIONS]
    async with (
        rate_limits(RateLimitResponse(overall_code=RateLimitResponse.OK)) as asked,
        beside(settings(), asked, limits) as (mine, theirs, seen),
    ):
        first, second = await both(mine, theirs, seen)
        assert first == second
        ours, others = (MessageToDict(each) for each in asked.requests)
        pairs = zip(ours["descriptors"], others["descriptors"], strict=True)
        assert [f"{a}\n{b}" for a, b in pairs if a != b] == []
        assert ours == others


@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
            "rate_limited_status": {"code": 503},
        },
    ],
    ids=["plain", "told"],
)
async def test_what_becomes_of_a_request(more: dict[str, Any]) -> None:
    left = [each for each in ANSWERS for _ in range(2)]

    async def say(_asked: Any, _context: Any) -> RateLimitResponse:
        return ParseDict(left.pop(0), RateLimitResponse())

    differing = []
    async with (
        rate_limits(say) as asked,
        beside(settings(**more), asked, [key("g")]) as (mine, theirs, seen),
    ):
        for case in ANSWERS:
            first, second = await both(mine, theirs, seen)
            if first != second:
                differing.append(f"{case}\n ours   {first}\n theirs {second}")
    assert not differing, "\n".join(differing)
