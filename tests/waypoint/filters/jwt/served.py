"""A waypoint whose service asks for tokens, and servers of keys as these tests want them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as pb
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb,
)
from google.protobuf import json_format

from tests.waypoint.filters.jwt.tokens import ISSUER, jwk, jwks
from tests.waypoint.mesh import HTTP_PORT, Mesh, hostname
from tests.waypoint.wire import upstream
from waypoint.filters.decode import TYPE_URL
from ztunnel_compat.model import Extension

NAME = "envoy.filters.http.jwt_authn"
KEYS = jwks(jwk("rsa", kid="r1"))
OTHER_KEYS = jwks(jwk("rsa-new", kid="r2"))


def authentication(*providers: dict[str, Any], **more: Any) -> pb.JwtAuthentication:
    """What one good token of any of the providers is needed for."""
    named = {f"p{index}": each for index, each in enumerate(providers)}
    requirements = [{"provider_name": name} for name in named]
    requires = (
        requirements[0]
        if len(requirements) == 1
        else {"requires_any": {"requirements": requirements}}
    )
    rules = [{"match": {"prefix": "/"}, "requires": requires}]
    message = {"providers": named, "rules": rules, **more}
    return json_format.ParseDict(message, pb.JwtAuthentication())


def provider(**more: Any) -> dict[str, Any]:
    """A provider of the usual issuer, with keys of its own unless others are given."""
    local = {} if "remote_jwks" in more else {"local_jwks": {"inline_string": KEYS}}
    return {"issuer": ISSUER, "payload_in_metadata": "payload", **local, **more}


def remote(uri: str, cluster: str = "", timeout: str = "5s", **more: Any) -> dict[str, Any]:
    """A provider whose keys are elsewhere."""
    uri_of = {"uri": uri, "cluster": cluster, "timeout": timeout}
    return provider(remote_jwks={"http_uri": uri_of, **more})


def tokens(service: str, message: pb.JwtAuthentication) -> Extension:
    """The filter for a service, under the name by which routes know it."""
    title = f"inbound-vip|{HTTP_PORT}|filters|{hostname(service)}"
    manager = manager_pb.HttpConnectionManager()
    manager.http_filters.add(name=NAME).typed_config.Pack(message)
    return Extension(title, TYPE_URL, manager.SerializeToString())


class KeyServer:
    """Answers each request with body and status, once open lets it; counts them."""

    def __init__(self) -> None:
        self.body = KEYS.encode()
        self.status = "200 OK"
        self.pages: dict[str, bytes] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.heads: list[bytes] = []
        self.port = 0

    @property
    def uri(self) -> str:
        """Where the keys are."""
        return f"http://127.0.0.1:{self.port}/keys"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                await self.open.wait()
                body = self.pages.get(head.split(b" ")[1].decode(), self.body)
                size = len(body)
                start = f"HTTP/1.1 {self.status}\r\nContent-Length: {size}\r\n\r\n"
                writer.write(start.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def key_server() -> AsyncIterator[KeyServer]:
    """A server of keys on loopback."""
    made = KeyServer()
    async with upstream(lambda peer: made.serve(peer.reader, peer.writer)) as server:
        made.port = server.port
        yield made


def counted(mesh: Mesh, name: str) -> int:
    """How often filters counted something."""
    return mesh.worker.stats.filters.get(name, 0)
