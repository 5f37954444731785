"""The same filters and requests at a real Envoy and at the waypoint."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf import json_format
from google.protobuf.message import Message

from tests.support.echo import echo
from tests.support.envoy import bootstrap, cluster, envoy, http_listener
from tests.waypoint.mesh import filters, host, routes, running, service, to
from waypoint.filters.kinds import KINDS

#: What tells a filter's answer from others', and what was passed on.
TOLD = re.compile(r"(x-ratelimit-\w+|grpc-status|grpc-message|x-limited|x-over|content-type)")


class Seen(NamedTuple):
    """A response: its status, the fields that count, its body unless an endpoint's."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: str


@dataclass(frozen=True)
class Case:
    """A route's settings, and requests in turn, each the lines of its header."""

    settings: Mapping[str, Any]
    requests: tuple[tuple[str, ...], ...] = ((),)


async def ask(port: int, path: str, requests: Iterable[tuple[str, ...]]) -> list[Seen]:
    """Responses over one connection, as long as it is kept."""
    found = []
    writer = None
    for lines in requests:
        if writer is None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        block = "".join(f"{line}\r\n" for line in lines)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: web\r\n{block}\r\n".encode())
        async with asyncio.timeout(10):
            response, kept = await seen(reader)
        found.append(response)
        if not kept:
            writer.close()
            writer = None
    if writer is not None:
        writer.close()
    return found


async def seen(reader: asyncio.StreamReader) -> tuple[Seen, bool]:
    """One response, and whether the connection is kept."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    parts = (line.partition(":") for line in lines)
    pairs = [(name, value.strip()) for name, _, value in parts]
    length = int(dict(pairs).get("content-length", "0"))
    body = (await reader.readexactly(length)).decode()
    fields = [pair for pair in pairs if TOLD.fullmatch(pair[0])]
    if body.startswith("{"):
        # The endpoint's: what it got of the request.
        fields += [("got", mark) for mark in re.findall(r'"x-over", "\w*"', body)]
        body = "{}"
    kept = ("connection", "close") not in pairs
    return Seen(int(first.split()[1]), tuple(sorted(fields)), body), kept


async def beside(
    kind: type[Message], cases: list[Case], **route: Any
) -> list[tuple[list[Seen], list[Seen]]]:
    """What Envoy and the waypoint answer in each case; kind: the filter's message.

    route: of routes' actions.
    """
    name = kind.DESCRIPTOR.full_name
    url = f"type.googleapis.com/{name}"
    empty = {"stat_prefix": "x"} if "stat_prefix" in kind.DESCRIPTOR.fields_by_name else {}
    entries = [
        {
            "match": {"prefix": f"/{number}/"},
            "route": to("web", **route),
            "typedPerFilterConfig": {name: {"@type": url, **case.settings}},
        }
        for number, case in enumerate(cases)
    ]
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(echo("web"))
        table = {"name": "t", "virtualHosts": [host(*entries)]}
        listener = http_listener("http", table)
        manager = listener["filterChains"][0]["filters"][0]["typedConfig"]
        config = {"@type": url, **empty}
        manager["httpFilters"].insert(0, {"name": name, "typedConfig": config})
        target = to("web")["cluster"]
        ports = await stack.enter_async_context(
            envoy(bootstrap([listener], [cluster(str(target), port)]))
        )
        mesh = await stack.enter_async_context(running(kinds=KINDS))
        message = json_format.ParseDict(empty, kind())
        mesh.push(service("web", routes("web", host(*entries)), filters("web", message)))
        mesh.pod("web-1", "web", port)
        mesh.ask("web")
        assert mesh.worker.targets.errors() == {}
        return [
            (
                await ask(ports["http"], f"/{number}/", case.requests),
                await ask(mesh.port, f"/{number}/", case.requests),
            )
            for number, case in enumerate(cases)
        ]
