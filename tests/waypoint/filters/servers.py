"""Servers that filters ask, over real gRPC: what they say is up to the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse

#: An answer, or what makes one (and may raise grpc.RpcError by aborting).
Say = Callable[[Any, grpc.aio.ServicerContext], Awaitable[Any]]


@dataclass
class Asked:
    """A server's port, and what it was asked, with the calls' metadata."""

    port: int
    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)


@asynccontextmanager
async def grpc_unary(service: str, method: str, kind: Any, answer: Any) -> AsyncIterator[Asked]:
    """A server of one method; answer: a message or a Say."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    asked = Asked(server.add_insecure_port("127.0.0.1:0"))

    async def handle(request: Any, context: grpc.aio.ServicerContext) -> Any:
        asked.requests.append(request)
        asked.metadata.append({k: str(v) for k, v in context.invocation_metadata() or ()})
        return await answer(request, context) if callable(answer) else answer

    handler = grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=kind.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    await server.start()
    try:
        yield asked
    finally:
        await server.stop(0)


def authorization(answer: CheckResponse | Say) -> Any:
    """An authorization server."""
    return grpc_unary("envoy.service.auth.v3.Authorization", "Check", CheckRequest, answer)


def rate_limits(answer: RateLimitResponse | Say) -> Any:
    """A rate limit service."""
    return grpc_unary(
        "envoy.service.ratelimit.v3.RateLimitService",
        "ShouldRateLimit",
        RateLimitRequest,
        answer,
    )
