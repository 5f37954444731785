"""Our decisions beside a real Envoy's, on generated routes and requests.

What differs on purpose is explained in ARCHITECTURE.md and left out here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from envoy.config.route.v3 import route_pb2
from google.protobuf import json_format

from tests.support.echo import echoes, read_response
from tests.support.envoy import bootstrap, cluster, envoy, http_listener, refusal
from tests.waypoint.corpus import CLUSTERS, Corpus
from waypoint.decode import decode_table
from waypoint.errors import RouteError
from waypoint.layers.request import parse_request
from waypoint.messages import Field, Request, Response
from waypoint.routing import (
    DirectResponse,
    Facts,
    Redirect,
    Route,
    RouteTable,
    cors_fields,
    edited,
    preflight,
    redirection,
    rewritten,
)
from waypoint.routing.conditions import is_grpc
from waypoint.routing.edits import replaced

#: What Envoy's connection manager and router tell beside what routes say.
ADDED = {
    "x-forwarded-proto", "x-request-id", "x-envoy-internal", "content-length", "date",
    "x-envoy-upstream-service-time", "host", "connection", "transfer-encoding",
    "x-forwarded-for", "content-type", "x-answer", "grpc-message",
}  # fmt: skip
FACTS = Facts(protocol="HTTP/1.1", remote=("127.0.0.1", 0))


@dataclass(frozen=True)
class Outcome:
    """What came of a request; upstream: cluster, method, path, authority, fields."""

    status: int
    fields: dict[str, str]
    upstream: tuple[str, str, str, str, dict[str, str]] | None = None


def joined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name → values in their order, as one; empty items of a list mean nothing."""
    made: dict[str, list[str]] = {}
    for name, value in fields:
        if name not in ADDED:
            made.setdefault(name, []).extend(item for item in value.split(",") if item)
    return {name: ",".join(values) for name, values in made.items()}


def text(fields: Iterable[Field]) -> list[tuple[str, str]]:
    return [(name.decode(), value.decode()) for name, value in fields]


def ours(table: RouteTable, raw: bytes) -> Outcome:
    """What our decisions come to."""
    request = parse_request(raw).request
    route = table.match(request)
    if route is None:
        return local(request, Response(404, ()))
    answer = preflight(request, route.cors) if route.cors is not None else None
    if answer is not None:
        return Outcome(answer.status, joined(text(answer.fields)))
    response, upstream, sent = answered(request, route)
    response = edited(response, route, 0, sent, FACTS)
    fields = response.fields
    if route.cors is not None:
        fields = replaced(fields, cors_fields(request, route.cors))
    response = response._replace(fields=fields)
    if upstream is None:
        return local(request, response)
    return Outcome(response.status, joined(text(fields)), upstream)


def local(request: Request, response: Response) -> Outcome:
    """An answer of the proxy's own, as gRPC callers get it (Envoy's http_utility)."""
    fields = joined(text(response.fields))
    if is_grpc(request):
        code = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
        status = {"grpc-status": str(code.get(response.status, 2))}
        return Outcome(200, fields | status)
    return Outcome(response.status, fields)


def answered(request: Request, route: Route) -> tuple[Response, Any, Request]:
    """A response, who gave it, and the request that it answers."""
    match route.action:
        case Redirect():
            return redirection(request, route.action), None, request
        case DirectResponse(status):
            return Response(status, ()), None, request
        case action:
            sent = rewritten(request, route, 0, FACTS)
            asked = [value for name, value in sent.fields if name == b"x-answer"]
            pairs = (value.partition(b":") for value in asked)
            fields = tuple((name.lower(), value.strip()) for name, _, value in pairs)
            told = (
                action.clusters[0].name,
                sent.method.decode(),
                sent.path.decode(),
                sent.authority.decode(),
                joined(text(sent.fields)),
            )
            return Response(200, fields), told, sent


class Client:
    """A connection to Envoy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, raw: bytes) -> Outcome:
        self.writer.write(raw)
        bodiless = raw.startswith(b"HEAD ")
        status, fields, body = await read_response(self.reader, bodiless=bodiless)
        upstream = None
        if body.startswith(b"{"):
            told = json.loads(body)
            authority = dict(told["fields"])["host"]
            received = joined((name, value) for name, value in told["fields"])
            upstream = told["cluster"], told["method"], told["path"], authority, received
        return Outcome(status, joined(fields), upstream)


def compiled(configuration: dict[str, Any]) -> RouteTable:
    message = route_pb2.RouteConfiguration()
    json_format.ParseDict(configuration, message)
    return decode_table(message.SerializeToString())


async def differences(seeds: range, hosts: int, requests: int) -> tuple[int, list[str]]:
    """How many requests were compared, and those that went differently."""
    configurations = {f"s{seed}": Corpus(seed).configuration("c", hosts, 8) for seed in seeds}
    found, count = [], 0
    async with echoes(CLUSTERS) as ports:
        listeners = [http_listener(name, routes) for name, routes in configurations.items()]
        clusters = [cluster(name, port) for name, port in ports.items()]
        async with envoy(bootstrap(listeners, clusters)) as listening:
            for name, configuration in configurations.items():
                table = compiled(configuration)
                corpus = Corpus(int(name[1:]) + 1_000_000)
                client = Client(*await asyncio.open_connection("127.0.0.1", listening[name]))
                for i in range(requests):
                    raw = corpus.request(i % hosts)
                    count += 1
                    expected, got = ours(table, raw), await client.ask(raw)
                    if raw.startswith(b"HEAD"):
                        expected = Outcome(expected.status, expected.fields)
                    if expected != got:
                        found.append(explain(configuration, table, raw, expected, got))
                client.writer.close()
    return count, found


def explain(
    configuration: dict[str, Any],
    table: RouteTable,
    raw: bytes,
    expected: Outcome,
    got: Outcome,
) -> str:
    """A difference, with our route and what surrounds it."""
    found = table.match(parse_request(raw).request)
    told = [raw.decode(), level(configuration)]
    for host, entry in zip(table.hosts, configuration["virtual_hosts"], strict=True):
        if found is not None and found in host.routes:
            told += (level(entry), level(entry["routes"][host.routes.index(found)]))
    return "\n".join([*told, f" ours: {expected}", f"envoy: {got}\n"])


def level(message: dict[str, Any]) -> str:
    """A level of a configuration without those below it."""
    below = {"virtual_hosts", "routes"}
    return json.dumps({name: value for name, value in message.items() if name not in below})


async def test_decisions_are_envoys() -> None:
    count, found = await differences(range(4), hosts=20, requests=200)
    assert count == 800
    assert not found, f"{len(found)} of {count} differ:\n" + "\n".join(found[:20])


@pytest.mark.soak
@pytest.mark.parametrize("start", range(100, 300, 20))
async def test_many_decisions_are_envoys(start: int) -> None:
    count, found = await differences(range(start, start + 20), hosts=40, requests=200)
    assert count == 4000
    assert not found, f"{len(found)} of {count} differ:\n" + "\n".join(found[:20])


BAD = {
    "no expression": {"match": {"safe_regex": {"regex": "(?=a)"}}},
    "prefix with a slash": {"match": {"path_separated_prefix": "/a/"}},
    "command": {"request_headers_to_add": [{"header": {"key": "a", "value": "%NOW%"}}]},
    "pseudo-header": {"request_headers_to_add": [{"header": {"key": ":path", "value": "/"}}]},
    "removed host": {"request_headers_to_remove": ["host"]},
    "line end": {"request_headers_to_add": [{"header": {"key": "a", "value": "a\r\nb: c"}}]},
    "two rewrites": {"route": {"cluster": "c", "prefix_rewrite": "/", "regex_rewrite": {
        "pattern": {"regex": "a"}, "substitution": "b"}}},
    "back-off": {"route": {"cluster": "c", "retry_policy": {
        "retry_back_off": {"base_interval": "2s", "max_interval": "1s"}}}},
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
async def test_what_envoy_refuses_is_refused(what: str) -> None:
    entry = {"match": {"prefix": "/"}, "route": {"cluster": "c"}, **BAD[what]}
    host = {"name": "h", "domains": ["*"], "routes": [entry]}
    configuration = {"name": "n", "virtual_hosts": [host]}
    assert await refusal(bootstrap([http_listener("l", configuration)], [cluster("c", 1)]))
    with pytest.raises(RouteError):
        compiled(configuration)
