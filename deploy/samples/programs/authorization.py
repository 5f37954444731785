"""An authorization server, over gRPC (Envoy's, port 9000) and over HTTP (port 8000).

It lets in whoever says ``x-ext-authz: allow``, and tells the service in
``x-ext-authz-by`` how it was asked. Needs grpcio.
"""

import socket
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from wire import field, fields, find

HEADER, BY = "x-ext-authz", "x-ext-authz-by"
REFUSED = "denied by ext_authz: say x-ext-authz: allow\n"
PERMISSION_DENIED, FORBIDDEN = 7, 403


def headers_of(request):
    """The headers of a CheckRequest, whose attributes are field 1."""
    http = find(request, 1, 4, 2)
    pairs = (value for number, value in fields(http) if number == 3)
    return {find(pair, 1).decode(): find(pair, 2).decode() for pair in pairs}


def header(name, value):
    """A HeaderValueOption."""
    return field(1, field(1, name) + field(2, value))


def check(request, _context):
    """A CheckResponse: a status, and what the client or the service is told."""
    if headers_of(request).get(HEADER) == "allow":
        return field(3, field(2, header(BY, "grpc")))
    denied = field(1, field(1, FORBIDDEN)) + field(3, REFUSED)
    return field(1, field(1, PERMISSION_DENIED)) + field(2, denied)


class Check(BaseHTTPRequestHandler):
    """Answers requests that stand for others: 200 lets them in."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Look at the header."""
        allowed = self.headers.get(HEADER) == "allow"
        body = b"" if allowed or self.path == "/health" else REFUSED.encode()
        self.send_response(FORBIDDEN if body else 200)
        self.send_header(BY, "http")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Listens on every IPv4 and IPv6 address."""

    address_family = socket.AF_INET6
    daemon_threads = True


server = grpc.server(ThreadPoolExecutor(8))
method = grpc.unary_unary_rpc_method_handler(check)
name = "envoy.service.auth.v3.Authorization"
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, {"Check": method})])
server.add_insecure_port("[::]:9000")
server.start()
Server(("::", 8000), Check).serve_forever()
