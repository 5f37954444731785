"""An ADS server in this process that says what a test tells it to, and a CA beside it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from envoy.service.discovery.v3 import discovery_pb2

from deploy.standalone.control.ca.certificates import Issuer, make_leaf, pem
from proto import authorization_pb2, ca_pb2, ca_pb2_grpc, workload_pb2
from tests.support.port15012 import Port, make_port
from tests.ztunnel_compat.helpers import task_of
from ztunnel_compat.drivers.ads_stream import METHOD
from ztunnel_compat.drivers.login import Login
from ztunnel_compat.identity import Identity
from ztunnel_compat.xds import ADDRESS_TYPE, AUTHORIZATION_TYPE

_FILES = tempfile.TemporaryDirectory(prefix="port15012-")


@cache
def port15012() -> Port:
    """Roots, token and keys: the same for all servers of this process."""
    return make_port(Path(_FILES.name))


def settings(port: int) -> dict[str, str]:
    """The environment of a client of a server on 127.0.0.1."""
    files = port15012()
    return {
        "XDS_ADDRESS": f"127.0.0.1:{port}",
        "XDS_ROOT_CA": str(files.roots),
        "TOKEN_PATH": str(files.token),
    }


def login(port: int) -> Login:
    """How a client reaches a server on 127.0.0.1."""
    files = port15012()
    return Login(f"127.0.0.1:{port}", files.roots, files.token)


class Ca(ca_pb2_grpc.IstioCertificateServiceServicer):
    """Signs whatever is asked for; asked: the calls' identities and their headers.

    seconds: how long certificates hold; refusal: a status and its details instead;
    identity, key: for whom and what it signs whatever was asked for; roots: more of them.
    """

    def __init__(self) -> None:
        self.seconds = 3600
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.identity: Identity | None = None
        self.key: Any = None
        self.roots: tuple[Issuer, ...] = ()
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def CreateCertificate(self, request: Any, context: Any) -> Any:
        fields = request.metadata.fields
        asked = fields["ImpersonatedIdentity"].string_value if fields else ""
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        self.asked.append((asked, headers))
        if self.refusal is not None:
            await context.abort(*self.refusal)
        issuer = port15012().issuer
        key: Any = self.key or x509.load_pem_x509_csr(request.csr.encode()).public_key()
        identity = self.identity or Identity.parse(asked)
        leaf = make_leaf(issuer, identity, key, time.time(), self.seconds)
        roots = b"".join(pem(each.root) for each in (issuer, *self.roots))
        chain = [pem(leaf).decode(), pem(issuer.intermediate).decode(), roots.decode()]
        return ca_pb2.IstioCertificateResponse(cert_chain=chain)


class Stream:
    """A stream as the server sees it."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self.requests: asyncio.Queue[Any] = asyncio.Queue()
        self.answers: asyncio.Queue[Any] = asyncio.Queue()

    async def request(self) -> Any:
        return await asyncio.wait_for(self.requests.get(), 60)

    async def expect(self, type_url: str, nonce: str) -> Any:
        request = await self.request()
        assert (request.type_url, request.response_nonce) == (type_url, nonce)
        return request

    async def begin(self) -> tuple[Any, Any]:
        """The two requests that open a stream: addresses, authorizations."""
        return await self.expect(ADDRESS_TYPE, ""), await self.expect(AUTHORIZATION_TYPE, "")

    def push(self, nonce: str, *resources: Any, removed: tuple[str, ...] = ()) -> None:
        self.answer(ADDRESS_TYPE, nonce, *resources, removed=removed)

    def answer(
        self, type_url: str, nonce: str, *resources: Any, removed: tuple[str, ...] = ()
    ) -> None:
        message = discovery_pb2.DeltaDiscoveryResponse(
            type_url=type_url, nonce=nonce, resources=resources, removed_resources=removed
        )
        self.raw(message.SerializeToString())

    def raw(self, data: bytes) -> None:
        """Send bytes as an answer."""
        self.answers.put_nowait(data)

    def fail(self, code: str, details: str) -> None:
        """Close the stream with an error."""
        self.answers.put_nowait((grpc.StatusCode[code], details))

    def end(self) -> None:
        """Close the stream in good order."""
        self.answers.put_nowait(None)


class AdsServer:
    """Streams wait to be taken by the test."""

    def __init__(self, server: grpc.aio.Server, port: int) -> None:
        self.server = server
        self.streams: asyncio.Queue[Stream] = asyncio.Queue()
        handler = grpc.stream_stream_rpc_method_handler(self.serve)
        service, method = METHOD.strip("/").split("/")
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )
        self.ca = Ca()
        ca_pb2_grpc.add_IstioCertificateServiceServicer_to_server(self.ca, server)
        self.port = server.add_secure_port(f"127.0.0.1:{port}", port15012().credentials)

    async def stream(self) -> Stream:
        return await asyncio.wait_for(self.streams.get(), 60)

    async def serve(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        if headers.get("authorization") != f"Bearer {port15012().token.read_text().strip()}":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token of ours")
        stream = Stream(headers)
        self.streams.put_nowait(stream)

        async def read() -> None:
            async for request in requests:
                stream.requests.put_nowait(
                    discovery_pb2.DeltaDiscoveryRequest.FromString(request)
                )

        async with task_of(read()):
            while (answer := await stream.answers.get()) is not None:
                if isinstance(answer, tuple):
                    await context.abort(*answer)
                yield answer

    async def kill(self) -> None:
        """Drop every connection and refuse new ones."""
        await self.server.stop(None)


@asynccontextmanager
async def serving(port: int = 0) -> AsyncIterator[AdsServer]:
    """Serve on a port of 127.0.0.1, a free one by default; dead at the end."""
    server = grpc.aio.server(
        options=[("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
    )
    servicer = AdsServer(server, port)
    await server.start()
    try:
        yield servicer
    finally:
        await servicer.kill()


def resource(name: str, version: str, type_url: str, content: Any) -> Any:
    """A resource as istiod wraps it."""
    message = discovery_pb2.Resource(name=name, version=version)
    message.resource.type_url = type_url
    message.resource.value = content.SerializeToString()
    return message


def workload(uid: str, version: str = "1", **fields: Any) -> Any:
    """An Address resource that holds a workload."""
    message = workload_pb2.Workload(uid=uid, **fields)
    return resource(uid, version, ADDRESS_TYPE, workload_pb2.Address(workload=message))


def policy(key: str, name: str = "", **fields: Any) -> Any:
    """An Authorization resource of this key, ``namespace/name``, or another name in it."""
    namespace, _, own = key.partition("/")
    message = authorization_pb2.Authorization(namespace=namespace, name=name or own, **fields)
    return resource(key, "", AUTHORIZATION_TYPE, message)
