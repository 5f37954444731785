"""What becomes of a request by the server's answer, beside a real Envoy's filter."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from google.protobuf.json_format import MessageToDict, ParseDict

from tests.support.envoy import EXTENSIONS, bootstrap, cluster, envoy, http_listener
from tests.waypoint.filters.ext_authz.test_filter import by_grpc, by_http, named, served
from tests.waypoint.filters.servers import authorization
from tests.waypoint.wire import Peer, client, ok, request, upstream
from ztunnel_compat.model import AppProtocol

#: What Envoy's connection manager and router tell, or each of the two in its own way.
OTHERS = {
    "x-forwarded-proto", "x-request-id", "x-envoy-expected-rq-timeout-ms", "date", "server",
    "x-envoy-upstream-service-time", "connection", "x-envoy-internal",
    "x-envoy-decorator-operation", "content-length", "x-forwarded-for",
}  # fmt: skip
ASKED = ("X-User: me", "X-There: 1", "Authorization: secret", "Accept: a", "Accept: b")


def options(*found: tuple[str, str, Any]) -> list[dict[str, Any]]:
    """HeaderValueOptions; the third: append, append_action or nothing."""
    made = []
    for key, value, how in found:
        option: dict[str, Any] = {"header": {"key": key, "value": value}}
        if isinstance(how, bool):
            option["append"] = how
        elif how:
            option["append_action"] = how
        made.append(option)
    return made


ADD, ABSENT = "APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT"
SET, PRESENT = "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"
EDITS = options(
    ("x-user", "ann", None), ("x-new", "1", None), ("x-there", "2", True),
    ("x-none", "2", True), ("X-Upper", "UP", False),
)  # fmt: skip
RESPONSE = options(
    ("x-mine", "2", None), ("x-mine", "3", True), ("x-new", "1", False), ("x-told", "1", ADD),
)  # fmt: skip
SETTING = options(("x-mine", "2", False), ("x-other", "2", SET))
RESPONSES = [
    options(("x-mine", "2", how), ("x-other", "3", how)) for how in (ADD, ABSENT, SET, PRESENT)
]
DENIED = {"code": 7}
CASES: list[dict[str, Any]] = [
    {},
    {"ok_response": {}},
    {"ok_response": {"headers": EDITS}},
    {"ok_response": {"headers_to_remove": ["Authorization", "x-nowhere", "accept"]}},
    {"ok_response": {"headers": EDITS, "headers_to_remove": ["x-user", "x-new"]}},
    {"ok_response": {"response_headers_to_add": RESPONSE}},
    {"ok_response": {"response_headers_to_add": SETTING}},
    *[{"ok_response": {"response_headers_to_add": found}} for found in RESPONSES],
    {"ok_response": {"query_parameters_to_set": [{"key": "a", "value": "9"}]}},
    {"ok_response": {"query_parameters_to_set": [{"key": "new", "value": "x"}]}},
    {"ok_response": {"query_parameters_to_remove": ["a", "none"]}},
    {"ok_response": {"query_parameters_to_remove": ["a", "b", "e"]}},
    {"status": DENIED},
    {"status": {"code": 16}},
    {"status": DENIED, "ok_response": {"headers": EDITS}},
    {"status": DENIED, "denied_response": {"status": {"code": 401}, "body": "no"}},
    {"status": DENIED, "denied_response": {"body": "no"}},
    {"status": DENIED, "denied_response": {"status": {"code": 302},
     "headers": options(("location", "/in", None), ("set-cookie", "a", None))}},
    {"status": DENIED, "denied_response": {"status": {"code": 503}, "body": "{}",
     "headers": options(("content-type", "application/json", None), ("x-a", "1", False))}},
    {"denied_response": {"status": {"code": 401}}},
]  # fmt: skip
ANSWERS = [
    ok(b"", "X-User: ann", "X-Told: 1", "X-Else: 1"),
    ok(b"", "X-There: 2", "X-None: 2", "X-Told: 1", "X-Told: 2"),
    ok(b"", "X-Envoy-Auth-Headers-To-Remove: authorization, x-user"),
    b"HTTP/1.1 201 Made\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 401 No\r\nWWW-Authenticate: B\r\nX-Told: 1\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 302 Found\r\nLocation: /in\r\nSet-Cookie: a\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 503 Oh\r\nContent-Length: 0\r\n\r\n",
]
BY_HTTP: list[dict[str, Any]] = [
    {},
    {"authorization_response": {
        "allowed_upstream_headers": named("x-user"),
        "allowed_upstream_headers_to_append": named("x-there", "x-none"),
        "allowed_client_headers": named("x-told"),
        "allowed_client_headers_on_success": named("x-told"),
    }},
]  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a client got, and what the endpoint did: nothing, or its request."""

    status: str
    fields: dict[str, str]
    body: bytes
    upstream: tuple[str, dict[str, str]] | None


def fields_of(head: bytes) -> dict[str, str]:
    """A head's fields; several of a name as one."""
    made: dict[str, str] = {}
    for line in head.decode().strip().split("\r\n")[1:]:
        name, _, value = line.partition(":")
        key = name.lower()
        if key not in OTHERS:
            made[key] = f"{made[key]},{value.strip()}" if key in made else value.strip()
    return made


async def outcome(peer: Peer, seen: list[bytes], path: str) -> Outcome:
    """What becomes of a request."""
    seen.clear()
    await peer.send(request(path, *ASKED))
    head, body = await peer.response()
    up = None
    if seen:
        up = (seen[0].split(b" ")[1].decode(), fields_of(seen[0]))
    return Outcome(head.split(b" ")[1].decode(), fields_of(head), body, up)


@asynccontextmanager
async def beside(
    config: ExtAuthz, port: int, speaks: AppProtocol
) -> AsyncIterator[tuple[Peer, Peer, list[bytes], list[bytes]]]:
    """A client of each of the two, ours first, and what their endpoints get."""
    seen: list[bytes] = []

    async def serve(peer: Peer) -> None:
        while True:
            seen.append((await peer.head()).lower())
            await peer.send(ok(b"hello", "X-Mine: 1"))

    async with upstream(serve) as server, served(config, port, speaks) as (mesh, ours):
        given = json.loads(
            json.dumps(MessageToDict(config)).replace(mesh_cluster(config), "authz")
        )
        routes = {"virtualHosts": [{"name": "h", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "web"}}]}]}  # fmt: skip
        listener = http_listener("l", routes)
        manager = listener["filterChains"][0]["filters"][0]["typedConfig"]
        kind = f"{EXTENSIONS}.http.ext_authz.v3.ExtAuthz"
        manager["httpFilters"].insert(
            0, {"name": "authz", "typedConfig": {"@type": kind, **given}}
        )
        authz = cluster("authz", port)
        if speaks is AppProtocol.GRPC:
            authz["http2ProtocolOptions"] = {}
        async with envoy(bootstrap([listener], [cluster("web", server.port), authz])) as ports:
            theirs = Peer(*await asyncio.open_connection("127.0.0.1", ports["l"]))
            try:
                async with client(mesh) as mine:
                    yield mine, theirs, ours, seen
            finally:
                await theirs.close()


def mesh_cluster(config: ExtAuthz) -> str:
    """The cluster's name in a mesh."""
    return config.grpc_service.envoy_grpc.cluster_name or config.http_service.server_uri.cluster


def differing(pairs: Iterable[tuple[str, Outcome, Outcome]]) -> list[str]:
    """The cases in which the two don't agree."""
    return [f"{case}\n ours   {a}\n theirs {b}" for case, a, b in pairs if a != b]


async def test_by_grpc() -> None:
    async def say(asked: CheckRequest, _context: Any) -> CheckResponse:
        index = int(asked.attributes.request.http.path.split("=")[1].split("&")[0])
        return ParseDict(CASES[index], CheckResponse())

    pairs = []
    async with (
        authorization(say) as asked,
        beside(by_grpc(), asked.port, AppProtocol.GRPC) as (mine, theirs, ours, seen),
    ):
        for index, case in enumerate(CASES):
            path = f"/p?a={index}&b=2&e="
            pairs.append(
                (str(case), await outcome(mine, ours, path), await outcome(theirs, seen, path))
            )
        first, second = asked.requests[:2]
        mine_http, their_http = first.attributes.request.http, second.attributes.request.http
        for field in (
            "method",
            "path",
            "host",
            "scheme",
            "protocol",
            "query",
            "fragment",
            "size",
        ):
            assert getattr(mine_http, field) == getattr(their_http, field), field
        skipped = {"x-request-id", "x-forwarded-proto"}
        assert {k: v for k, v in mine_http.headers.items() if k not in skipped} == {
            k: v for k, v in their_http.headers.items() if k not in skipped
        }
    assert not differing(pairs), "\n".join(differing(pairs))


@pytest.mark.parametrize("service", BY_HTTP, ids=["plain", "lists"])
async def test_by_http(service: dict[str, Any]) -> None:
    asked: list[bytes] = []

    async def answer(peer: Peer) -> None:
        while True:
            head = await peer.head()
            asked.append(head)
            await peer.send(ANSWERS[int(head.split(b"/p?a=")[1].split(b" ")[0])])

    pairs = []
    config = by_http(http_service=service, allowed_headers=named("x-user"))
    async with (
        upstream(answer) as server,
        beside(config, server.port, AppProtocol.HTTP11) as (mine, theirs, ours, seen),
    ):
        for index, case in enumerate(ANSWERS):
            path = f"/p?a={index}"
            pairs.append(
                (str(case), await outcome(mine, ours, path), await outcome(theirs, seen, path))
            )
        mine_asked, their_asked = asked[0], asked[1]
        assert mine_asked.split(b"\r\n")[0] == their_asked.split(b"\r\n")[0]
        told = fields_of(their_asked)
        assert fields_of(mine_asked).items() >= told.items()
    assert not differing(pairs), "\n".join(differing(pairs))
