"""A gRPC server: /shop.Echo/Say answers with its version. Port 8080. Needs grpcio."""

import os
from concurrent.futures import ThreadPoolExecutor

import grpc


def say(_request, _context):
    """Return the version, whatever was asked."""
    return os.environ.get("VERSION", "v1").encode()


server = grpc.server(ThreadPoolExecutor(8))
method = grpc.unary_unary_rpc_method_handler(say)
server.add_generic_rpc_handlers(
    [grpc.method_handlers_generic_handler("shop.Echo", {"Say": method})]
)
server.add_insecure_port("[::]:8080")
server.start()
server.wait_for_termination()
