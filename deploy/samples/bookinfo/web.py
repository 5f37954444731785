"""The HTTP that the four services share: a small keep-alive server and client.

A service is a function from `Request` to `Response`, given to `serve`. The server listens
on port 9080 (or `PORT`) of every IPv4 and IPv6 address, speaks HTTP/1.1 with keep-alive,
and on SIGTERM finishes what it has begun before it ends. `Upstreams` calls other services
by name over pooled connections and passes on the headers that belong to the caller.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PORT = int(os.environ.get("PORT", "9080"))
MAX_BODY = 64 * 1024
IDLE_SECONDS = 75.0
# How long an ending service still accepts: callers need a moment to learn that it leaves.
DRAIN_SECONDS = 0.5
UPSTREAM_TIMEOUT = 5.0
POOL_SIZE = 32
# A connection goes the way that it was made: one that is older is made anew, so that what
# becomes of the way (a waypoint, say) is soon the way of all requests.
KEEP_SECONDS = 3.0
# What a request carries through the whole call tree: who asks, and the trace it is part of.
FORWARDED = ("end-user", "x-request-id", "traceparent", "tracestate", "baggage")
USER_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


@dataclass(frozen=True)
class Request:
    """A request: method, path without the query, and header names in lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def forwarded(self) -> dict[str, str]:
        """The headers that calls made on behalf of this request must carry."""
        return {name: self.headers[name] for name in FORWARDED if name in self.headers}


@dataclass(frozen=True)
class Response:
    """An answer: status, body and its media type, and further headers."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Service = Callable[[Request], Response]


def answer(value: object, status: int = 200) -> Response:
    """Return `value` as a JSON response."""
    return Response(status, json.dumps(value).encode() + b"\n")


def not_found(request: Request) -> Response:
    """Return the 404 that names what was asked for."""
    return answer({"error": f"nothing at {request.path}"}, 404)


def number_after(prefix: str, path: str) -> int | None:
    """The whole number that follows `prefix` and ends `path`; None if there is none."""
    tail = path.removeprefix(prefix)
    return int(tail) if path.startswith(prefix) and re.fullmatch(r"[0-9]{1,9}", tail) else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    wbufsize = -1  # head and body leave in one segment
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        try:
            super().finish()
        except OSError:
            pass  # the caller left while its answer was on the way

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # reset by the caller

    def do_GET(self) -> None:
        started = time.monotonic()
        refusal, body = self._read_body()
        url = urlsplit(self.path)
        try:
            response = refusal or self.server.service(
                Request(
                    method=self.command,
                    path=url.path,
                    query=parse_qs(url.query),
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=body,
                )
            )
        except Exception as error:  # noqa: BLE001  one request's bug costs no connection
            response = answer({"error": f"{type(error).__name__}: {error}"}, 500)
        self._write(response)
        if url.path != "/health":
            milliseconds = (time.monotonic() - started) * 1000
            print(
                f"{self.command} {self.path} {response.status} {milliseconds:.1f} ms"
                f" from {self.client_address[0]}",
                flush=True,
            )

    # http.server finds the methods that it answers by these names.
    do_POST = do_GET  # noqa: N815
    do_HEAD = do_GET  # noqa: N815

    def _read_body(self) -> tuple[Response | None, bytes]:
        if "transfer-encoding" in self.headers:
            self.close_connection = True
            return answer({"error": "send Content-Length, not chunks"}, 411), b""
        length = self.headers.get("content-length", "0")
        if not re.fullmatch(r"[0-9]{1,18}", length):
            self.close_connection = True
            return answer({"error": f"Content-Length {length!r} is not a number"}, 400), b""
        if int(length) > MAX_BODY:
            self.close_connection = True
            return answer({"error": f"the body is larger than {MAX_BODY} bytes"}, 413), b""
        return None, self.rfile.read(int(length))

    def _write(self, response: Response) -> None:
        if self.server.draining.is_set():
            self.close_connection = True
        self.send_response_only(response.status)
        self.send_header("content-type", response.content_type)
        self.send_header("content-length", str(len(response.body)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        print(format % args, file=sys.stderr, flush=True)


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = False
    address_family = socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET

    def __init__(self, port: int, service: Service) -> None:
        self.service = service
        self.draining = threading.Event()
        self.connections: set[socket.socket] = set()
        super().__init__(("", port), _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def drain(self) -> None:
        """Answer what still arrives for a moment, then stop reading; ends serve_forever()."""
        self.draining.set()
        time.sleep(DRAIN_SECONDS)
        self.shutdown()
        for connection in list(self.connections):
            try:
                # Idle connections see the end; an answer in the making can still be sent.
                connection.shutdown(socket.SHUT_RD)
            except OSError:
                pass  # closed meanwhile


def serve(name: str, service: Service, port: int = PORT) -> None:
    """Serve until SIGTERM or SIGINT; returns once every begun answer has been sent."""
    server = _Server(port, service)

    def end(*_: object) -> None:
        if not server.draining.is_set():
            threading.Thread(target=server.drain, name="drain").start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    print(f"{name} listens on port {server.server_address[1]}", flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    print(f"{name} has ended", flush=True)


class Upstreams:
    """Calls other services; keeps idle connections per address, at most `POOL_SIZE` each.

    None is used for longer than `KEEP_SECONDS`.
    """

    def __init__(self) -> None:
        self._idle: dict[str, deque[tuple[HTTPConnection, float]]] = {}

    def get(self, address: str, path: str, headers: Mapping[str, str]) -> Response:
        """GET http://`address``path`; a service out of reach is answered with 503.

        A connection that turns out to be closed when it is used again is replaced once:
        the request is a GET, so sending it twice does no harm (RFC 9110, section 9.2.2).
        """
        idle = self._idle.setdefault(address, deque(maxlen=POOL_SIZE))
        connection, since = self._take(idle, address)
        reused = connection.sock is not None
        try:
            return self._exchange(idle, (connection, since), path, headers)
        except (ConnectionError, HTTPException) as error:
            if not reused:
                return _unreachable(address, error)
        except OSError as error:
            return _unreachable(address, error)
        try:
            return self._exchange(idle, self._new(address), path, headers)
        except (OSError, HTTPException) as error:
            return _unreachable(address, error)

    @staticmethod
    def _new(address: str) -> tuple[HTTPConnection, float]:
        return HTTPConnection(address, timeout=UPSTREAM_TIMEOUT), time.monotonic()

    def _take(
        self, idle: deque[tuple[HTTPConnection, float]], address: str
    ) -> tuple[HTTPConnection, float]:
        """The connection that was used last, unless it is too old, or a new one."""
        while True:
            try:
                connection, since = idle.pop()
            except IndexError:
                return self._new(address)
            if time.monotonic() - since < KEEP_SECONDS:
                return connection, since
            connection.close()

    @staticmethod
    def _exchange(
        idle: deque[tuple[HTTPConnection, float]],
        kept: tuple[HTTPConnection, float],
        path: str,
        headers: Mapping[str, str],
    ) -> Response:
        connection = kept[0]
        try:
            connection.request("GET", path, headers=dict(headers))
            reply = connection.getresponse()
            body = reply.read()
        except BaseException:
            connection.close()
            raise
        if connection.sock is not None:
            idle.append(kept)
        return Response(reply.status, body, reply.headers.get("content-type", ""))


def _unreachable(address: str, error: BaseException) -> Response:
    print(f"GET http://{address}: {type(error).__name__}: {error}", flush=True)
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return answer({"error": f"{address}: {type(error).__name__}: {error}"}, status)


def pod_name() -> str:
    """The name of the pod that this process runs in."""
    return os.environ.get("POD_NAME") or socket.gethostname()
