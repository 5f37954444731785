"""Requests through a waypoint that asks an authorization server, gRPC and HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import (
    ExtAuthz,
    ExtAuthzPerRoute,
)
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from google.protobuf.json_format import ParseDict

from tests.waypoint.filters.servers import authorization
from tests.waypoint.http2.peers import client2, fields
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
from tests.waypoint.wire import Peer, client, ok, request, upstream
from waypoint.filters.room import MOST
from ztunnel_compat.model import AppProtocol

NAME = ExtAuthz.DESCRIPTOR.full_name
AUTHZ = f"outbound|{HTTP_PORT}||{hostname('authz')}"
YES = CheckResponse()
NO = ParseDict({"status": {"code": 7}}, CheckResponse())


def per_route(**settings: Any) -> dict[str, Any]:
    return override(NAME, ParseDict(settings, ExtAuthzPerRoute()))


def by_grpc(timeout: str = "5s", **more: Any) -> ExtAuthz:
    service = {"envoy_grpc": {"cluster_name": AUTHZ}, "timeout": timeout}
    return ParseDict(
        {"grpc_service": service, "transport_api_version": "V3", **more}, ExtAuthz()
    )


V2 = {"header": {"key": "x-version", "value": "2"}}
#: In place of the first route: what a header leads to, answered here.
TEAPOT = {
    "match": {"prefix": "/", "headers": [{"name": "x-version", "present_match": True}]},
    "route": None,
    "direct_response": {"status": 418},
}


@asynccontextmanager
async def served(
    config: ExtAuthz, port: int, speaks: AppProtocol = AppProtocol.GRPC, **route: Any
) -> AsyncIterator[tuple[Mesh, list[bytes]]]:
    """A service behind an authorization server at a port; what its endpoint gets."""
    seen: list[bytes] = []

    async def serve(peer: Peer) -> None:
        while True:
            head = (await peer.head()).lower()
            length = [x for x in head.split(b"\r\n") if x.startswith(b"content-length")]
            body = await peer.exactly(int(length[0].split(b":")[1])) if length else b""
            seen.append(head + body)
            await peer.send(ok(b"hello", "X-Mine: 1"))

    async with running() as mesh, upstream(serve) as server:
        entries = [
            {"match": {"prefix": "/v2"}, "route": to("web"), **route},
            {"match": {"prefix": "/"}, "route": to("web")},
        ]
        mesh.push(
            service("web", routes("web", host(*entries)), filters("web", config)),
            service("authz", mine=False, speaks=speaks),
        )
        mesh.pod("web-1", "web", server.port)
        mesh.pod("authz-1", "authz", port)
        mesh.ask("web")
        assert mesh.worker.targets.errors() == {}
        yield mesh, seen


async def test_the_server_sees_the_request_as_it_came() -> None:
    async with (
        authorization(YES) as asked,
        served(
            by_grpc(),
            asked.port,
            **per_route(check_settings={"context_extensions": {"a": "b"}}),
        ) as (mesh, seen),
        client(mesh) as peer,
    ):
        assert (await peer.get("/v2?q=1", "X-A: 1", "x-a: 2"))[1] == b"hello"
        (check,) = asked.requests
        found = check.attributes
        http = found.request.http
        assert (http.method, http.path, http.host) == ("GET", "/v2?q=1", "web")
        assert (http.scheme, http.protocol, http.size) == ("http", "HTTP/1.1", 0)
        assert http.headers["x-a"] == "1,2"
        assert http.headers[":path"] == "/v2?q=1"
        assert found.source.principal == "spiffe://cluster.local/ns/apps/sa/default"
        assert found.source.address.socket_address.address == "127.0.0.1"
        assert found.destination.address.socket_address.port_value == 80
        assert dict(found.context_extensions) == {"a": "b"}
        assert http.body == ""
        assert mesh.worker.stats.filters == {"ext_authz.ok": 1}
        assert len(seen) == 1


async def test_what_the_server_changes_is_changed() -> None:
    answer = ParseDict(
        {
            "ok_response": {
                "headers": [
                    {"header": {"key": "X-User", "value": "ann"}},
                    {"header": {"key": "x-there", "value": "2"}, "append": True},
                    {"header": {"key": "x-gone", "value": "2"}, "append": True},
                    {"header": {"key": "Host", "value": "evil"}},
                    {"header": {"key": "content-length", "value": "9"}},
                ],
                "headers_to_remove": ["Authorization", "host", "content-length"],
                "response_headers_to_add": [{"header": {"key": "x-told", "value": "yes"}}],
                "query_parameters_to_set": [{"key": "who", "value": "an n"}],
                "query_parameters_to_remove": ["secret"],
            }
        },
        CheckResponse(),
    )
    async with (
        authorization(answer) as asked,
        served(by_grpc(), asked.port) as (mesh, seen),
        client(mesh) as peer,
    ):
        lines = ("X-User: me", "X-There: 1", "Authorization: secret")
        path = "/a?secret=1&who=x&b"
        await peer.send(request(path, *lines, "Content-Length: 3", method="PUT", body=b"abc"))
        head, _ = await peer.response()
        assert b"x-told: yes" in head
        assert b"put /a?who=an%20n&b http/1.1" in seen[0]
        assert b"content-length: 3\r\n" in seen[0]
        assert seen[0].endswith(b"\r\n\r\nabc")
        assert b"x-user: ann\r\n" in seen[0]
        assert b"x-there: 1\r\n" in seen[0]
        assert b"x-there: 2\r\n" in seen[0]
        assert b"host: web\r\n" in seen[0]
        for gone in (b"x-gone", b"evil", b"length: 9", b"authorization", b": me"):
            assert gone not in seen[0]


async def test_changed_requests_are_routed_anew_where_it_is_asked_for() -> None:
    answer = ParseDict({"ok_response": {"headers": [V2]}}, CheckResponse())
    for anew, status in ((False, b"200"), (True, b"418")):
        async with (
            authorization(answer) as asked,
            served(by_grpc(clear_route_cache=anew), asked.port, **TEAPOT) as (mesh, _),
            client(mesh) as peer,
        ):
            assert (await peer.get("/"))[0].startswith(b"http/1.1 " + status)


async def test_only_what_a_shadow_rule_meets_is_asked_about() -> None:
    name = RBAC.DESCRIPTOR.full_name
    key = "p_shadow_effective_policy_id"
    rule = {"permissions": [{"url_path": {"path": {"prefix": "/admin"}}}]}
    policies = {"auth-rule": {**rule, "principals": [{"any": True}]}}
    rbac = ParseDict(
        {
            "shadow_rules": {"action": "DENY", "policies": policies},
            "shadow_rules_stat_prefix": "p_",
        },
        RBAC(),
    )
    enabled = {
        "filter": name,
        "path": [{"key": key}],
        "value": {"string_match": {"prefix": "auth-"}},
    }
    config = by_grpc(filter_enabled_metadata=enabled, metadata_context_namespaces=[name])
    async with authorization(NO) as asked:
        async with served(config, asked.port) as (mesh, seen), client(mesh) as peer:
            table = routes("web", host({"match": {"prefix": "/"}, "route": to("web")}))
            mesh.push(service("web", table, filters("web", rbac, config)))
            assert mesh.worker.targets.errors() == {}
            assert (await peer.get("/"))[1] == b"hello"
            assert asked.requests == []
            assert (await peer.get("/admin"))[0].startswith(b"http/1.1 403")
            assert (await peer.get("/"))[1] == b"hello"
            assert len(seen) == 2
        (check,) = asked.requests
        told = check.attributes.metadata_context.filter_metadata[name]
        assert told[key] == "auth-rule"


async def test_a_responses_fields_are_replaced_where_the_server_says_so() -> None:
    told = [
        {"header": {"key": "x-mine", "value": "2"}, "append_action": "OVERWRITE_IF_EXISTS"},
        {"header": {"key": "x-other", "value": "3"}, "append_action": "ADD_IF_ABSENT"},
    ]
    answer = ParseDict({"ok_response": {"response_headers_to_add": told}}, CheckResponse())
    async with (
        authorization(answer) as asked,
        served(by_grpc(), asked.port) as (mesh, _),
        client(mesh) as peer,
    ):
        head, body = await peer.get("/")
        assert b"x-mine: 2\r\n" in head
        assert b"x-mine: 1" not in head
        assert b"x-other: 3" in head
        assert body == b"hello"


async def test_a_denial_is_told_as_the_server_wants() -> None:
    denial = {
        "status": {"code": 16},
        "denied_response": {
            "status": {"code": "Unauthorized"},
            "headers": [
                {"header": {"key": "content-type", "value": "text/html"}},
                {"header": {"key": "www-authenticate", "value": "Basic"}},
                {"header": {"key": "set-cookie", "value": "a=1"}},
                {"header": {"key": "set-cookie", "value": "b=2"}, "append": True},
            ],
            "body": "<b>no</b>",
        },
    }
    async with (
        authorization(ParseDict(denial, CheckResponse())) as asked,
        served(by_grpc(), asked.port) as (mesh, seen),
        client(mesh) as peer,
    ):
        head, body = await peer.get("/")
        assert head.startswith(b"http/1.1 401")
        assert head.count(b"content-type") == 1
        assert b"content-type: text/html" in head
        assert b"www-authenticate: basic" in head
        assert b"set-cookie: a=1" in head
        assert b"set-cookie: b=2" in head
        assert body == b"<b>no</b>"
        grpc_head, _ = await peer.get("/", "Content-Type: application/grpc")
        assert b"grpc-status: 16" in grpc_head
        assert grpc_head.count(b"content-type") == 1
        assert b"content-type: application/grpc" in grpc_head
        assert seen == []
        lines = await mesh.lines(2)
        assert " 401 UAEX ext_authz_denied " in lines[0]
        assert mesh.worker.stats.filters == {"ext_authz.denied": 2}


async def aborts(_request: CheckRequest, context: grpc.aio.ServicerContext) -> Any:
    await context.abort(grpc.StatusCode.INTERNAL, "broken")


ODD = {"status": {"code": 7}, "denied_response": {"status": {"code": 42}}}


def sets(name: str, value: str) -> CheckResponse:
    option = {"header": {"key": name, "value": value}}
    return ParseDict({"ok_response": {"headers": [option]}}, CheckResponse())


@pytest.mark.parametrize(
    "answer",
    [
        aborts,
        sets("a b", "c"),
        sets("a", "b\r\nc: d"),
        ParseDict(ODD, CheckResponse()),
    ],
    ids=["abort", "name", "injection", "status"],
)  # fmt: skip
async def test_a_wrong_answer_lets_nobody_in(answer: Any) -> None:
    async with (
        authorization(answer) as asked,
        served(by_grpc(), asked.port) as (mesh, seen),
        client(mesh) as peer,
    ):
        head, _ = await peer.get("/")
        assert head.startswith(b"http/1.1 403")
        assert seen == []
        assert " 403 UAEX ext_authz_error " in (await mesh.lines(1))[0]


async def test_a_server_that_is_not_there() -> None:
    told = by_grpc(status_on_error={"code": 503})
    async with served(told, 1) as (mesh, _), client(mesh) as peer:
        assert (await peer.get("/"))[0].startswith(b"http/1.1 503")
    async with served(by_grpc(), 1, AppProtocol.HTTP11) as (mesh, _), client(mesh) as peer:
        assert (await peer.get("/"))[0].startswith(b"http/1.1 403")
    opened = by_grpc(failure_mode_allow=True, failure_mode_allow_header_add=True)
    async with served(opened, 1) as (mesh, seen), client(mesh) as peer:
        assert (await peer.get("/"))[1] == b"hello"
        assert b"x-envoy-auth-failure-mode-allowed: true" in seen[0]
        assert mesh.worker.stats.filters == {
            "ext_authz.error": 1, "ext_authz.failure_mode_allowed": 1
        }  # fmt: skip


async def test_a_slow_server_stalls_nobody_else() -> None:
    free = asyncio.Event()

    async def slow(check: CheckRequest, _context: Any) -> CheckResponse:
        if check.attributes.request.http.path == "/slow":
            await free.wait()
        return YES

    async with (
        authorization(slow) as asked,
        served(by_grpc(), asked.port) as (mesh, _),
        client(mesh) as waiting,
        client(mesh) as peer,
    ):
        await waiting.send(request("/slow"))
        await until(lambda: asked.requests)
        for _ in range(5):
            assert (await peer.get("/"))[1] == b"hello"
        free.set()
        assert (await waiting.response())[1] == b"hello"
    async with authorization(slow) as asked:
        free.clear()
        async with served(by_grpc("0.05s"), asked.port) as (mesh, _), client(mesh) as peer:
            assert (await peer.get("/slow"))[0].startswith(b"http/1.1 403")
            (chain,) = [
                t.chain for t in mesh.worker.targets.by_hash.values() if t.chain.filters
            ]
            assert chain.filters[0].filter.room.taken == 0
        free.set()


async def test_a_slow_question_holds_its_own_stream_of_a_connection_only() -> None:
    free = asyncio.Event()

    async def slow(check: CheckRequest, _context: Any) -> CheckResponse:
        if check.attributes.request.http.path == "/slow":
            await free.wait()
        return YES

    config = by_grpc(with_request_body={"max_request_bytes": 9})
    async with (
        authorization(slow) as asked,
        served(config, asked.port) as (mesh, seen),
        client2(mesh) as peer,
    ):
        waiting = peer.conn.get_next_available_stream_id()
        length = ("content-length", "4")
        await peer.send(waiting, fields("/slow", length, method="POST"))
        await peer.data(waiting, b"ab")
        await peer.data(waiting, b"cd", end=True)
        await until(lambda: asked.requests)
        assert asked.requests[0].attributes.request.http.body == "abcd"
        for _ in range(5):
            assert (await peer.response(await peer.get("/")))[1] == b"hello"
        free.set()
        assert (await peer.response(waiting))[1] == b"hello"
        assert seen[-1].endswith(b"abcd")
        assert asked.requests[0].attributes.request.http.protocol == "HTTP/2"


async def test_questions_have_a_bound() -> None:
    async with authorization(YES) as asked, served(by_grpc(), asked.port) as (mesh, _):
        (chain,) = [t.chain for t in mesh.worker.targets.by_hash.values() if t.chain.filters]
        room = chain.filters[0].filter.room
        room.taken = MOST
        async with client(mesh) as peer:
            assert (await peer.get("/"))[0].startswith(b"http/1.1 403")
        assert mesh.worker.stats.filters["ext_authz.overflow"] == 1
        assert asked.requests == []
        room.taken = 0


FIVE = {"max_request_bytes": 5}


@pytest.mark.parametrize(
    ("settings", "sent", "status", "told", "partial"),
    [
        (FIVE, b"12345", 200, b"12345", "false"),
        (FIVE, b"123456", 413, None, ""),
        ({**FIVE, "allow_partial_message": True}, b"1234567", 200, b"12345", "true"),
        ({"max_request_bytes": 9, "pack_as_bytes": True}, b"\xff\0", 200, b"\xff\0", "false"),
    ],
)  # fmt: skip
async def test_the_server_gets_as_much_of_the_body_as_it_may(
    settings: dict[str, Any], sent: bytes, status: int, told: bytes | None, partial: str
) -> None:
    config = by_grpc(with_request_body=settings)
    async with (
        authorization(YES) as asked,
        served(config, asked.port) as (mesh, seen),
        client(mesh) as peer,
    ):
        lines = (f"Content-Length: {len(sent)}", "X-Envoy-Auth-Partial-Body: maybe")
        await peer.send(request("/", *lines, method="POST", body=sent))
        head, _ = await peer.response()
        assert head.startswith(b"http/1.1 %d" % status)
        if told is None:
            assert asked.requests == []
            return
        http = asked.requests[0].attributes.request.http
        assert (http.raw_body or http.body.encode()) == told
        assert http.headers["x-envoy-auth-partial-body"] == partial
        assert seen[0].endswith(b"\r\n\r\n" + sent)


@pytest.mark.parametrize(
    ("config", "route", "path", "count"),
    [
        ({}, {"disabled": True}, "/v2", 0),
        ({}, {"disabled": True}, "/", 1),
        ({"filter_enabled": {"default_value": {"numerator": 0}}}, None, "/", 0),
        (
            {
                "filter_enabled_metadata": {
                    "filter": "x",
                    "path": [{"key": "y"}],
                    "value": {"string_match": {"prefix": "z"}},
                }
            },
            None,
            "/",
            0,
        ),
    ],
)
async def test_where_it_is_off_nobody_is_asked(
    config: dict[str, Any], route: dict[str, Any] | None, path: str, count: int
) -> None:
    more = per_route(**route) if route else {}
    async with (
        authorization(NO) as asked,
        served(by_grpc(**config), asked.port, **more) as (mesh, _),
        client(mesh) as peer,
    ):
        head, _ = await peer.get(path)
        assert head.startswith(b"http/1.1 403" if count else b"http/1.1 200")
        assert len(asked.requests) == count


def by_http(**more: Any) -> ExtAuthz:
    uri = {"uri": "http://authz", "cluster": AUTHZ, "timeout": "5s"}
    inner = more.pop("http_service", {})
    return ParseDict({"http_service": {"server_uri": uri, **inner}, **more}, ExtAuthz())


def named(*names: str) -> dict[str, Any]:
    return {"patterns": [{"exact": name} for name in names]}


async def test_a_server_is_asked_by_http() -> None:
    config = by_http(
        allowed_headers={"patterns": [{"prefix": "X-"}]},
        disallowed_headers=named("x-b"),
        http_service={
            "path_prefix": "/check",
            "authorization_request": {"headers_to_add": [{"key": "x-from", "value": "gate"}]},
            "authorization_response": {
                "allowed_upstream_headers": named("X-User"),
                "allowed_client_headers_on_success": named("x-told"),
            },
        },
    )
    answer = ok(
        b"", "X-User: ann", "X-Told: 1", "X-Else: 2", "X-Envoy-Auth-Headers-To-Remove: x-b"
    )
    async with upstream(None, answer) as server:
        lines = ("X-Tenant: t", "X-B: 1", "Authorization: a", "Cookie: c")
        asking = served(config, server.port, AppProtocol.HTTP11)
        async with asking as (mesh, seen), client(mesh) as peer:
            head, body = await peer.get("/a?b", *lines)
        (asked,) = server.heads
        assert asked.startswith(b"GET /check/a?b HTTP/1.1\r\nhost: web\r\n")
        for field in (b"x-tenant: t", b"authorization: a", b"x-from: gate"):
            assert field in asked.lower()
        assert b"x-b" not in asked.lower()
        assert b"cookie" not in asked.lower()
        assert body == b"hello"
        assert b"x-told: 1" in head
        assert b"x-else" not in head
        assert b"x-user: ann" in seen[0]
        assert b"x-b" not in seen[0]


async def test_by_http_the_body_is_asked_about_where_that_is_wanted() -> None:
    asked: list[bytes] = []

    async def serve(peer: Peer) -> None:
        while True:
            head = (await peer.head()).lower()
            asked.append(head + await peer.exactly(int(head.split(b"length: ")[1].split()[0])))
            await peer.send(ok(b""))

    body = {"max_request_bytes": 9}
    every = {"patterns": [{"prefix": ""}]}
    for config, told in ((by_http(), b""), (by_http(with_request_body=body), b"abc")):
        for listed in (config, ParseDict({"allowed_headers": every}, config)):
            async with upstream(serve) as server:
                asking = served(listed, server.port, AppProtocol.HTTP11)
                async with asking as (mesh, seen), client(mesh) as peer:
                    lines = ("Content-Length: 3",)
                    await peer.send(request("/", *lines, method="POST", body=b"abc"))
                    assert (await peer.response())[1] == b"hello"
            assert asked[-1].startswith(b"post / http/1.1")
            assert asked[-1].count(b"content-length") == 1
            assert asked[-1].endswith(b"\r\n\r\n" + told)
            assert seen[0].endswith(b"\r\n\r\nabc")


@pytest.mark.parametrize(
    ("answer", "allowed", "status", "has", "lacks"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nno",
         None, 302, [b"location: /login", b"x-a: 1"], []),
        (b"HTTP/1.1 401 No\r\nWWW-Authenticate: B\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nno",
         named("x-b"), 401, [b"www-authenticate: b"], [b"x-a"]),
        (b"HTTP/1.1 204 None\r\n\r\n", None, 204, [], []),
        (b"HTTP/1.1 500 Oh\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nno", None, 403, [], [b"x-a"]),
    ],
)  # fmt: skip
async def test_what_a_server_refuses_by_http(
    answer: bytes, allowed: Any, status: int, has: list[bytes], lacks: list[bytes]
) -> None:
    more = {"authorization_response": {"allowed_client_headers": allowed}} if allowed else {}
    async with upstream(None, answer) as server:
        asking = served(by_http(http_service=more), server.port, AppProtocol.HTTP11)
        async with asking as (mesh, seen), client(mesh) as peer:
            head, body = await peer.get("/")
        assert head.startswith(b"http/1.1 %d" % status)
        assert body == (b"no" if status not in {204, 403} else b"")
        assert all(each in head for each in has)
        assert not any(each in head for each in lacks)
        assert seen == []
