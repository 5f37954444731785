"""An ADS server in this process that says what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from proto import authorization_pb2, workload_pb2
from tests.ztunnel_compat.helpers import task_of
from ztunnel_compat.drivers.ads_stream import METHOD
from ztunnel_compat.xds import ADDRESS_TYPE, AUTHORIZATION_TYPE


class Stream:
    """A stream as the server sees it."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[Any] = asyncio.Queue()
        self.answers: asyncio.Queue[Any] = asyncio.Queue()

    async def request(self) -> Any:
        return await asyncio.wait_for(self.requests.get(), 10)

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
        self.port = server.add_insecure_port(f"127.0.0.1:{port}")

    async def stream(self) -> Stream:
        return await asyncio.wait_for(self.streams.get(), 10)

    async def serve(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        stream = Stream()
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


def policy(key: str, name: str = "") -> Any:
    """An Authorization resource of this key, ``namespace/name``, or another name in it."""
    namespace, _, own = key.partition("/")
    message = authorization_pb2.Authorization(namespace=namespace, name=name or own)
    return resource(key, "", AUTHORIZATION_TYPE, message)
