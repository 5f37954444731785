"""A gRPC server with every kind of method, and a client's channel; bytes as messages."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc


class Service(grpc.GenericRpcHandler):
    """Echoes; events tell tests what the server saw."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.waiting = threading.Event()
        self.calls = 0
        self.deadlines: list[float | None] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        name = handler_call_details.method.rpartition("/")[2]
        handlers = {
            "unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "serverstream": grpc.unary_stream_rpc_method_handler(self.serverstream),
            "clientstream": grpc.stream_unary_rpc_method_handler(self.clientstream),
            "bidi": grpc.stream_stream_rpc_method_handler(self.bidi),
            "fails": grpc.unary_unary_rpc_method_handler(self.fails),
            "waits": grpc.unary_unary_rpc_method_handler(self.waits),
            "endless": grpc.unary_stream_rpc_method_handler(self.endless),
        }
        return handlers.get(name)

    def unary(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls += 1
        self.deadlines.append(context.time_remaining())
        context.send_initial_metadata((("head", "1"),))
        context.set_trailing_metadata((("tail", "2"), ("tail-bin", b"\0\xff")))
        return message

    def serverstream(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for _ in range(int(message)):
            yield message

    def clientstream(self, messages: Iterable[bytes], context: grpc.ServicerContext) -> bytes:
        return b",".join(messages)

    def bidi(self, messages: Iterable[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for message in messages:
            yield message[::-1]

    def fails(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "caf\u00e9: no")
        raise AssertionError

    def wait(self, context: grpc.ServicerContext) -> None:
        context.add_callback(self.cancelled.set)
        self.waiting.set()

    def waits(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self.wait(context)
        self.cancelled.wait(10)
        return message

    def endless(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self.wait(context)
        yield message
        self.cancelled.wait(10)


@contextmanager
def grpc_server() -> Iterator[tuple[Service, int]]:
    """A server on a free port of 127.0.0.1."""
    service = Service()
    pool = futures.ThreadPoolExecutor(max_workers=8)
    server = grpc.server(pool, handlers=(service,), options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield service, port
    finally:
        stopped = server.stop(0)
        service.cancelled.set()
        stopped.wait()
        pool.shutdown()


class Client:
    """A channel's methods, by their names."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.unary = channel.unary_unary("/t.S/unary")
        self.serverstream = channel.unary_stream("/t.S/serverstream")
        self.clientstream = channel.stream_unary("/t.S/clientstream")
        self.bidi = channel.stream_stream("/t.S/bidi")
        self.fails = channel.unary_unary("/t.S/fails")
        self.waits = channel.unary_unary("/t.S/waits")
        self.endless = channel.unary_stream("/t.S/endless")


@contextmanager
def grpc_client(port: int) -> Iterator[Client]:
    """A client of its own connection."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield Client(channel)
