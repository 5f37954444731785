"""What the gate does with what filters say, with filters of these tests' own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from google.protobuf.wrappers_pb2 import BytesValue, StringValue

from tests.waypoint.http2.peers import client2, fields
from tests.waypoint.mesh import Mesh, filters, host, routes, running, service, to, until
from tests.waypoint.wire import Peer, client, request, upstream
from waypoint.filters.inquiry import inquire
from waypoint.filters.passage import Passage
from waypoint.filters.registry import Kind
from waypoint.filters.taps import Taps
from waypoint.filters.verdicts import (
    PASSED,
    Asked,
    HeadVerdict,
    Later,
    Passed,
    Refusal,
    Verdict,
)
from waypoint.layers.headers import Field
from waypoint.layers.response import ResponseHead
from waypoint.messages import Request

NO = Refusal(403, b"no\n", "test_refused", "UAEX", ((b"x-why", b"because"),))
Decide = Callable[[Asked], HeadVerdict]
Begin = Callable[[Asked, Passage], Verdict | Awaitable[Verdict]]


@dataclass
class Heads:
    """A filter that decides by the head."""

    said: Decide
    name: str = StringValue.DESCRIPTOR.full_name
    clusters: tuple[str, ...] = ()
    reads_connection: bool = False
    reads_path: bool = True
    asked: list[Asked] = field(default_factory=list)

    def decide(self, asked: Asked) -> HeadVerdict:
        self.asked.append(asked)
        return self.said(asked)


@dataclass
class Steps:
    """A filter that decides for each request."""

    said: Begin
    name: str = BytesValue.DESCRIPTOR.full_name
    clusters: tuple[str, ...] = ()
    asked: list[Asked] = field(default_factory=list)

    def begin(self, asked: Asked, passage: Passage) -> Verdict | Awaitable[Verdict]:
        self.asked.append(asked)
        return self.said(asked, passage)


def read_text(value: bytes, _at: str) -> str:
    return StringValue.FromString(value).value


@asynccontextmanager
async def served(
    heads: Decide | None = None, steps: Begin | None = None, **route: object
) -> AsyncIterator[tuple[Mesh, list[bytes]]]:
    """A service with these filters before its routes; what its endpoint gets."""
    seen: list[bytes] = []
    kinds: dict[str, Kind] = {}
    configured: list[StringValue | BytesValue] = []
    if heads is not None:
        said = heads
        configured.append(StringValue())
        kinds["google.protobuf.StringValue"] = Kind(
            lambda name, value, at: Heads(said), {"google.protobuf.StringValue": read_text}
        )
    if steps is not None:
        begun = steps
        configured.append(BytesValue())
        kinds["google.protobuf.BytesValue"] = Kind(
            lambda name, value, at: Steps(begun), {"google.protobuf.StringValue": read_text}
        )

    async def serve(peer: Peer) -> None:
        while True:
            head = await peer.head()
            length = [
                line for line in head.split(b"\r\n") if line.startswith(b"content-length")
            ]
            body = await peer.exactly(int(length[0].split(b":")[1])) if length else b""
            seen.append(head + body)
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    async with running(kinds=kinds) as mesh, upstream(serve) as server:
        entries = [
            {"match": {"prefix": "/v2"}, "route": to("web"), "name": "v2", **route},
            {"match": {"prefix": "/"}, "route": to("web"), "name": "rest"},
        ]
        rules = routes("web", host(*entries))
        mesh.push(service("web", rules, filters("web", *configured)))
        mesh.pod("web-1", "web", server.port)
        mesh.ask("web")
        yield mesh, seen


async def test_a_head_filter_refuses_and_is_asked_once_for_equal_heads() -> None:
    calls: list[Asked] = []

    def decide(asked: Asked) -> HeadVerdict:
        calls.append(asked)
        return NO._replace(counts=("refused_by_test",))

    async with served(decide) as (mesh, seen), client(mesh) as peer:
        for _ in range(3):
            head, body = await peer.get("/")
            assert head.startswith(b"http/1.1 403")
            assert b"x-why: because" in head
            assert body == b"no\n"
        assert seen == []
        assert mesh.worker.stats.filters == {"refused_by_test": 3}
        assert mesh.worker.stats.local == {"test_refused": 3}
        # The shared memo lets a head in when it comes a second time.
        assert len(calls) == 2
        lines = await mesh.lines(3)
        assert " 403 UAEX test_refused " in lines[0]


async def test_what_holds_for_a_while_is_asked_again_afterwards() -> None:
    calls: list[Asked] = []
    seconds = [60.0, 60.0, 0.0, 60.0]

    def decide(asked: Asked) -> HeadVerdict:
        calls.append(asked)
        return Passed(seconds=seconds[len(calls) - 1])

    async with served(decide) as (mesh, _), client(mesh) as peer:
        for _ in range(3):
            await peer.get("/")
        assert len(calls) == 1
        await peer.get("/other")
        await peer.get("/")
        assert len(calls) == 3
        await peer.get("/")
        assert len(calls) == 4


async def test_a_request_is_changed_and_routed_anew() -> None:
    def decide(asked: Asked) -> HeadVerdict:
        changed = asked.request._replace(path=b"/v2/x", fields=((b"x-user", b"anna"),))
        return Passed(changed, reroute=True)

    async with served(decide) as (mesh, seen), client(mesh) as peer:
        assert (await peer.get("/"))[1] == b"hello"
        assert b"GET /v2/x HTTP/1.1" in seen[0]
        assert b"x-user: anna" in seen[0]
        assert (await mesh.lines(1))[0].endswith("v2 - -\n") or " v2 " in (await mesh.lines(1))[
            0
        ]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    ("path", "to_path", "asked"),
    [("/", b"/v2/x", []), ("/v2", b"/", [None]), ("/v2", b"/v2/x", [])],
)
async def test_filters_behind_follow_the_route_that_a_request_was_given(
    path: str, to_path: bytes, asked: list[object], waits: bool
) -> None:
    settings: list[object] = []
    ready: list[bool] = []

    async def wait() -> None:
        ready.append(True)

    def decide(before: Asked) -> HeadVerdict:
        if waits and not ready:
            return Later(wait)
        return Passed(before.request._replace(path=to_path), reroute=True)

    def begin(now: Asked, passage: Passage) -> Verdict:
        assert passage.route is not None
        settings.append(now.override)
        return PASSED

    kind = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
    off = {"google.protobuf.BytesValue": {"@type": kind, "disabled": True}}
    async with served(decide, begin, typedPerFilterConfig=off) as (mesh, seen):
        async with client(mesh) as peer:
            assert (await peer.get(path))[1] == b"hello"
        assert settings == asked
        assert seen[0].startswith(b"GET %b HTTP/1.1" % to_path)


@pytest.mark.parametrize("disabled", [False, True])
async def test_a_route_has_settings_of_its_own(disabled: bool) -> None:
    settings: list[object] = []

    def decide(asked: Asked) -> HeadVerdict:
        settings.append(asked.override)
        return PASSED

    value = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "mine"}
    wrapper = {
        "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
        "disabled": disabled,
        "config": value,
    }
    overrides = {"typedPerFilterConfig": {"google.protobuf.StringValue": wrapper}}
    async with served(decide, **overrides) as (mesh, _), client(mesh) as peer:
        await peer.get("/v2")
        await peer.get("/")
        assert settings == ([] if disabled else ["mine"]) + [None]


async def test_a_step_waits_reads_the_body_and_passes_it_on() -> None:
    bodies: list[tuple[bytes, bool]] = []

    def begin(asked: Asked, passage: Passage) -> Awaitable[Verdict]:
        async def wait() -> Verdict:
            bodies.append(await passage.body(4))
            fields = (*asked.request.fields, (b"x-checked", b"1"))
            return Passed(asked.request._replace(fields=fields))

        return wait()

    async with served(steps=begin) as (mesh, seen), client(mesh) as peer:
        raw = request("/", "Content-Length: 10", method="POST")
        await peer.send(raw + b"ab")
        await peer.send(b"cdef")
        await until(lambda: bodies)
        await peer.send(b"ghij")
        head, body = await peer.response()
        assert (head[:12], body) == (b"http/1.1 200", b"hello")
        assert bodies[0][0][:4] == b"abcd"
        assert b"x-checked: 1" in seen[0]
        assert seen[0].endswith(b"\r\n\r\nabcdefghij")


async def test_a_client_that_leaves_ends_the_wait() -> None:
    ended = asyncio.Event()

    def begin(_asked: Asked, _passage: Passage) -> Awaitable[Verdict]:
        async def wait() -> Verdict:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return PASSED

        return wait()

    async with served(steps=begin) as (mesh, seen):
        async with client(mesh) as peer:
            await peer.send(request("/"))
            await until(lambda: mesh.worker.stats.requests)
        async with asyncio.timeout(5):
            await ended.wait()
        assert seen == []


async def test_what_a_head_filter_waits_for_comes() -> None:
    ready: list[bool] = []

    async def wait() -> None:
        ready.append(True)

    def decide(asked: Asked) -> HeadVerdict:
        return PASSED if ready else Later(wait)

    async with served(decide) as (mesh, seen), client(mesh) as peer:
        assert (await peer.get("/"))[1] == b"hello"
        ready.clear()
        await peer.get("/other")
        assert len(seen) == 2


async def test_what_never_comes_is_a_refusal() -> None:
    async def wait() -> None:
        pass

    async with served(lambda _: Later(wait)) as (mesh, seen), client(mesh) as peer:
        assert (await peer.get("/"))[0].startswith(b"http/1.1 503")
        assert seen == []


class Loud:
    """Passes a response on in capitals, and says how it began and ended."""

    def __init__(self, taps: Taps, told: list[str]) -> None:
        self.taps = taps
        self.told = told

    def head(self, head: ResponseHead, *, end: bool) -> None:
        self.told.append(f"head {head.status}")
        self.taps.pass_head(self, head, end=end)

    def data(self, data: bytes, *, end: bool) -> None:
        self.told.append(f"data {end}")
        self.taps.pass_data(self, data.upper(), end=end)

    def trailers(self, fields: list[Field]) -> None:
        self.taps.pass_trailers(self, fields)

    def close(self) -> None:
        self.told.append("close")


async def test_a_response_goes_through_taps() -> None:
    told: list[str] = []

    def begin(_asked: Asked, passage: Passage) -> Verdict:
        passage.tap(lambda taps: Loud(taps, told))
        passage.add_to_response((b"x-more", b"1"))
        return PASSED

    async with served(steps=begin) as (mesh, _), client(mesh) as peer:
        for _ in range(2):
            head, body = await peer.get("/")
            assert b"x-more: 1" in head
            assert body == b"HELLO"
        assert told == ["head 200", "data True", "close"] * 2


async def test_a_filter_asks_a_cluster() -> None:
    answers = []

    def begin(_asked: Asked, passage: Passage) -> Awaitable[Verdict]:
        async def ask() -> Verdict:
            exchange = passage.exchange
            cluster = exchange.plan.target.clusters[""]
            asked = Request(b"POST", b"http", b"auth", b"/check", ((b"x-a", b"b"),))
            answers.append(
                await inquire(
                    passage.worker, exchange.down.caller, cluster, asked, b"body", seconds=5
                )
            )
            return PASSED

        return ask()

    async with served(steps=begin) as (mesh, seen), client(mesh) as peer:
        assert (await peer.get("/"))[1] == b"hello"
        assert (answers[0].status, answers[0].body) == (200, b"hello")
        assert seen[0].startswith(b"POST /check HTTP/1.1\r\nhost: auth\r\n")
        assert seen[0].endswith(b"\r\n\r\nbody")
        assert len(await mesh.lines(1)) == 1


async def test_filters_that_are_not_known_let_nobody_through() -> None:
    async with running(kinds={}) as mesh:
        mesh.push(service("web", filters("web", StringValue())))
        mesh.ask("web")
        async with client(mesh) as peer:
            head, body = await peer.get("/")
            assert head.startswith(b"http/1.1 503")
            assert body == b"filter configuration rejected\n"
        (error,) = mesh.worker.targets.errors().values()
        assert "google.protobuf.StringValue is not known" in error


async def test_the_same_over_http2_with_a_body_that_waits() -> None:
    bodies: list[tuple[bytes, bool]] = []

    def begin(asked: Asked, passage: Passage) -> Awaitable[Verdict]:
        async def wait() -> Verdict:
            assert asked.http2
            bodies.append(await passage.body(1 << 20))
            passage.tap(lambda taps: Loud(taps, []))
            return Passed(asked.request._replace(fields=((b"x-checked", b"1"),)))

        return wait()

    async with served(steps=begin) as (mesh, seen), client2(mesh) as peer:
        more = (("content-length", "6"),)
        await peer.send(1, fields("/v2", *more, method="POST"))
        await peer.data(1, b"abc")
        other = await peer.get("/")
        await until(lambda: len(bodies) == 1)
        assert (await peer.response(other))[1] == b"HELLO"
        await peer.data(1, b"def", end=True)
        assert (await peer.response(1))[1] == b"HELLO"
        assert sorted(bodies) == [(b"", True), (b"abcdef", True)]
        assert seen[1].endswith(b"\r\n\r\nabcdef")


async def test_a_grpc_caller_gets_a_refusal_of_its_own() -> None:
    async with served(lambda _: NO) as (mesh, _), client2(mesh) as peer:
        stream = await peer.get("/pkg.Service/Call", ("content-type", "application/grpc"))
        head, body = await peer.response(stream)
        assert (head[b":status"], head[b"grpc-status"], body) == (b"200", b"7", b"")
        assert head[b"x-why"] == b"because"


async def test_over_http2_an_equal_head_is_asked_again_when_its_time_is_over() -> None:
    calls: list[Asked] = []

    def decide(asked: Asked) -> HeadVerdict:
        calls.append(asked)
        return Passed(seconds=60.0 if len(calls) < 8 else 0.0)

    async with served(decide) as (mesh, _), client2(mesh) as peer:
        for _ in range(7):
            await peer.response(await peer.get("/"))
        remembered = len(calls)
        assert remembered < 7
        calls.extend(calls[:1] * 8)
        mesh.push(service("web", filters("web", StringValue())))
        for _ in range(3):
            await peer.response(await peer.get("/"))
        assert len(calls) == remembered + 8 + 3
