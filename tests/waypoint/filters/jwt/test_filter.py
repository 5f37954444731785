"""Our decisions beside a real Envoy's, on generated tokens; and requests on their way.

What differs on purpose is left out here: see test_token and test_evaluate.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as pb
from google.protobuf import json_format

from tests.support.echo import echo, read_response
from tests.support.envoy import EXTENSIONS, bootstrap, cluster, envoy, http_listener
from tests.waypoint.filters.jwt.corpus import CONFIGURATIONS, Corpus
from tests.waypoint.filters.jwt.served import (
    NAME,
    authentication,
    key_server,
    provider,
    remote,
    tokens,
)
from tests.waypoint.filters.jwt.tokens import claims, token
from tests.waypoint.http2.peers import client2
from tests.waypoint.mesh import Mesh, host, routes, running, service, to, until
from tests.waypoint.wire import client, ok, upstream
from waypoint.filters.jwt import filter as module
from waypoint.filters.jwt.decode import build
from waypoint.filters.jwt.filter import JwtFilter
from waypoint.filters.jwt.keys import Keys
from waypoint.filters.jwt.settings import Requirement
from waypoint.filters.jwt.status import Status
from waypoint.filters.jwt.token import Token
from waypoint.filters.jwt.work import Work
from waypoint.filters.verdicts import Asked, Passed, Refusal
from waypoint.layers.request import parse_request
from waypoint.plan import is_grpc, refused
from waypoint.routing import NO_FACTS, NOBODY

#: Tells what the filter found out.
METADATA = f"%DYNAMIC_METADATA({NAME})%"
#: What Envoy tells beside what the filter does.
ADDED = {"x-forwarded-proto", "x-request-id", "content-length", "host", "x-md"}


ROUTE = {"cluster": "c", "timeout": "0s"}


class Outcome(NamedTuple):
    """What came of a request: an answer, or what went on."""

    status: int
    body: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    path: str = ""
    notes: Any = None


def joined(fields: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Fields in their names' order, with each name once."""
    found: dict[str, list[str]] = {}
    for name, value in fields:
        found.setdefault(name, []).append(value)
    return tuple(sorted((name, ",".join(values)) for name, values in found.items()))


def made(configuration: dict[str, Any]) -> JwtFilter:
    message = json_format.ParseDict(configuration, pb.JwtAuthentication())
    return build(NAME, message.SerializeToString(), "")


def ours(found: JwtFilter, raw: bytes) -> Outcome:
    head = parse_request(raw)
    verdict = found.decide(Asked(head.request, NOBODY, NO_FACTS))
    if isinstance(verdict, Refusal):
        answer = refused(verdict, grpc=is_grpc(head)).answer
        fields = tuple((n.decode(), v.decode()) for n, v in answer.fields)
        return Outcome(answer.status, answer.body.decode(), joined(fields))
    assert isinstance(verdict, Passed)
    request = verdict.request or head.request
    fields = tuple((n.decode(), v.decode("latin-1")) for n, v in request.fields)
    return Outcome(200, "", joined(fields), request.path.decode(), verdict.notes or {})


class Client:
    """A connection to Envoy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, raw: bytes) -> Outcome:
        self.writer.write(raw)
        status, fields, content = await read_response(self.reader)
        body = content.decode()
        if not body.startswith('{"cluster"'):
            told = {"content-length", "date", "server"}
            kept = joined(field for field in fields if field[0] not in told)
            return Outcome(status, body, kept)
        asked = json.loads(body)
        received = [(name, value) for name, value in asked["fields"]]
        notes = json.loads(dict(received).get("x-md", "{}").encode("latin-1"))
        kept = joined(field for field in received if field[0] not in ADDED)
        return Outcome(status, "", kept, asked["path"], notes)


def listener(name: str, configuration: dict[str, Any]) -> dict[str, Any]:
    """An Envoy listener with the filter, that tells its findings to the endpoint."""
    routes = {
        "virtualHosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": ROUTE}],
                "requestHeadersToAdd": [{"header": {"key": "x-md", "value": METADATA}}],
            }
        ]
    }
    made = http_listener(name, routes)
    manager = made["filterChains"][0]["filters"][0]["typedConfig"]
    kind = f"{EXTENSIONS}.http.jwt_authn.v3.JwtAuthentication"
    manager["httpFilters"].insert(
        0, {"name": NAME, "typedConfig": {"@type": kind, **configuration}}
    )
    return made


async def differences(seeds: range, requests: int) -> tuple[int, list[str]]:
    """How many requests were compared, and those that went differently."""
    found, count = [], 0
    async with echo("c") as port:
        listeners = [listener(name, each) for name, each in CONFIGURATIONS.items()]
        async with envoy(bootstrap(listeners, [cluster("c", port)])) as listening:
            for name, configuration in CONFIGURATIONS.items():
                mine = made(configuration)
                client = Client(*await asyncio.open_connection("127.0.0.1", listening[name]))
                for seed in seeds:
                    corpus = Corpus(seed)
                    for _ in range(requests):
                        raw = corpus.request()
                        count += 1
                        expected, got = ours(mine, raw), await client.ask(raw)
                        stricter = name == "missing" and got.status < expected.status
                        if expected != got and not stricter:
                            found.append(f"{name}\n{raw.decode()} ours: {expected}\n"
                                         f"envoy: {got}\n")  # fmt: skip
                client.writer.close()
    return count, found


async def test_decisions_are_envoys() -> None:
    count, found = await differences(range(1), 100)
    assert count == 1000
    assert not found, f"{len(found)} of {count} differ:\n" + "\n".join(found[:10])


@pytest.mark.soak
async def test_many_decisions_are_envoys() -> None:
    count, found = await differences(range(100, 120), 100)
    assert count == 20_000
    assert not found, f"{len(found)} of {count} differ:\n" + "\n".join(found[:10])


def claim(*path: str, value: str) -> dict[str, Any]:
    """A route's condition on a claim, as istiod writes it."""
    text = {"string_match": {"exact": value}}
    either = {"or_match": {"value_matchers": [{"list_match": {"one_of": text}}, text]}}
    keys = [{"key": key} for key in ("payload", *path)]
    return {"dynamic_metadata": [{"filter": NAME, "path": keys, "value": either}]}


BY_CLAIM = routes(
    "web",
    host(
        {"match": {"prefix": "/", **claim("groups", value="dev")}, "route": to("canary")},
        {"match": {"prefix": "/", **claim("deep", "er", value="x")},
         "direct_response": {"status": 418}},
        {"match": {"prefix": "/"}, "route": to("web")},
    ),
)  # fmt: skip


@asynccontextmanager
async def by_claims(*asked: dict[str, Any]) -> AsyncIterator[Mesh]:
    """Who is of group dev is sent to another service; bodies say which."""
    message = authentication(*asked)
    async with (
        running() as mesh,
        upstream(None, ok(b"web")) as web,
        upstream(None, ok(b"canary")) as canary,
    ):
        mesh.push(service("canary", mine=False))
        mesh.push(service("web", BY_CLAIM, tokens("web", message)))
        mesh.pod("canary-1", "canary", canary.port)
        mesh.pod("web-1", "web", web.port)
        mesh.ask("web")
        yield mesh


def bearer(**more: Any) -> str:
    return f"Authorization: Bearer {token(claims(**more))}"


async def check_routes(mesh: Mesh) -> None:
    async with client(mesh) as peer:
        for _ in range(2):
            for said, status, body in (
                ({"groups": ["ops", "dev"]}, b"200", b"canary"),
                ({"groups": "dev"}, b"200", b"canary"),
                ({"groups": ["ops"]}, b"200", b"web"),
                ({"deep": {"er": "x"}}, b"418", b""),
                ({}, b"200", b"web"),
            ):
                head, got = await peer.get("/", bearer(**said))
                assert (head.split()[1], got) == (status, body)
        head, _ = await peer.get("/", f"Authorization: Bearer {token(by='rsa-eve')}")
        assert head.startswith(b"http/1.1 401")


async def test_routes_by_claims() -> None:
    async with by_claims(provider()) as mesh:
        await check_routes(mesh)


async def test_routes_by_claims_of_a_token_whose_keys_came_later() -> None:
    async with key_server() as keys:
        keys.open.clear()
        # Nothing of the request changes, so that notes alone lead elsewhere.
        asked = remote(keys.uri) | {"forward": True}
        async with by_claims(asked) as mesh, client(mesh) as peer:
            first = asyncio.create_task(peer.get("/", bearer(groups="dev")))
            await until(lambda: mesh.worker.stats.requests)
            keys.open.set()
            assert (await first)[1] == b"canary"
            await check_routes(mesh)


async def test_an_equal_request_costs_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Work] = []
    verified: list[Token] = []
    check, verify = module.check, Keys.verify

    def counting(requirement: Requirement, work: Work) -> Status:
        checked.append(work)
        return check(requirement, work)

    def verifying(self: Keys, one: Token) -> Status:
        verified.append(one)
        return verify(self, one)

    monkeypatch.setattr(module, "check", counting)
    monkeypatch.setattr(Keys, "verify", verifying)
    async with by_claims(provider()) as mesh:
        line = bearer(groups="dev", jti="once")
        async with client(mesh) as peer:
            for _ in range(5):
                assert (await peer.get("/", line))[1] == b"canary"
            assert (len(checked), len(verified)) == (1, 1)
        async with client(mesh) as peer:
            # Of another connection the signature is known, the rest is looked at again.
            assert (await peer.get("/", line))[1] == b"canary"
            assert (len(checked), len(verified)) == (2, 1)
        assert mesh.worker.stats.filters == {"jwt_authn.allowed": 6}


async def test_http2_clients_too() -> None:
    line = ("authorization", bearer(groups="dev").partition(" ")[2])
    async with by_claims(provider()) as mesh, client2(mesh) as peer:
        for _ in range(2):
            assert (await peer.response(await peer.get("/", line)))[1] == b"canary"
            head, body = await peer.response(await peer.get("/", (line[0], line[1][:-4])))
            assert (head[b":status"], body) == (b"401", b"Jwt verification fails")
            head, body = await peer.response(await peer.get("/"))
            assert head[b"www-authenticate"] == b'Bearer realm="http://web/"'


async def test_grpc_callers_are_told_in_their_way() -> None:
    async with by_claims(provider(audiences=["a"])) as mesh, client(mesh) as peer:
        kind = "Content-Type: application/grpc"
        head, _ = await peer.get("/", kind)
        assert b"grpc-status: 16" in head
        assert b"grpc-message: jwt is missing" in head
        head, _ = await peer.get("/", kind, bearer())
        assert b"grpc-status: 7" in head
        lines = await mesh.lines(2)
        assert "jwt_authn_access_denied{Audiences_in_Jwt_are_not_allowed}" in lines[1]
