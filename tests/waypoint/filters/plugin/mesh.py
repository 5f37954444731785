"""A waypoint with plug-ins before a service that repeats what it gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from google.protobuf import json_format
from google.protobuf.message import Message
from xds.type.v3.typed_struct_pb2 import TypedStruct

from tests.waypoint.mesh import HTTP_PORT, Mesh, hostname, running, service
from tests.waypoint.wire import Peer, upstream
from waypoint.filters.decode import TYPE_URL as FILTERS_URL
from waypoint.filters.plugin.decode import TYPE_URL
from ztunnel_compat.model import Extension

NAME = "tandem.plugin.apps.one"
START = "from tandem.plugins import Filter, Response\nclass F(Filter):\n"


def plugin(body: str, **more: object) -> TypedStruct:
    """A plug-in whose class F has this body; more: fields beside code."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return struct(code=START + lines, className="F", **more)


def struct(**fields: object) -> TypedStruct:
    """A plug-in's message."""
    made = TypedStruct(type_url=TYPE_URL)
    json_format.ParseDict(fields, made.value)
    return made


def chain(**plugins: Message) -> Extension:
    """A service's filters, by the plug-ins' names."""
    manager = HttpConnectionManager()
    for name, message in plugins.items():
        entry = manager.http_filters.add(name=f"tandem.plugin.apps.{name}")
        entry.typed_config.Pack(message)
    title = f"inbound-vip|{HTTP_PORT}|filters|{hostname('web')}"
    return Extension(title, FILTERS_URL, manager.SerializeToString())


async def repeat(peer: Peer) -> None:
    """Answer each request with what came: head and body, the framing aside."""
    while True:
        head = await peer.head()
        low = head.lower()
        body = b""
        if b"transfer-encoding: chunked" in low:
            while size := int((await peer.until(b"\r\n")).strip(), 16):
                body += await peer.exactly(size)
                await peer.exactly(2)
            await peer.exactly(2)
        elif b"content-length: " in low:
            body = await peer.exactly(int(low.split(b"content-length: ")[1].split(b"\r\n")[0]))
        answer = head + body
        await peer.send(
            b"HTTP/1.1 200 OK\r\nX-Served: 1\r\nContent-Length: %d\r\n\r\n" % len(answer)
            + answer
        )


@asynccontextmanager
async def plugged(**plugins: Message) -> AsyncIterator[Mesh]:
    """A waypoint with these plug-ins, in this order."""
    async with running() as mesh, upstream(repeat) as server:
        mesh.push(service("web", chain(**plugins)))
        mesh.pod("web-1", "web", server.port)
        mesh.ask("web")
        yield mesh
