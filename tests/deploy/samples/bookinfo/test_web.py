"""The shared HTTP server and client, over real sockets."""

from __future__ import annotations

import importlib
import json
import signal
import socket
import threading
from typing import Any

import pytest

from tests.support.bookinfo import SAMPLE

HELLO = """
import time
from web import Response, answer, serve

def hello(request):
    if request.path == "/slow":
        time.sleep(1)
    if request.path == "/bug":
        raise KeyError("oops")
    return answer({"path": request.path, "query": dict(request.query),
                   "body": request.body.decode()})

serve("hello", hello)
"""


@pytest.fixture
def hello(apps: Any, tmp_path: Any) -> Any:
    (tmp_path / "hello.py").write_text(HELLO)
    return apps.start("hello.py", cwd=tmp_path, PYTHONPATH=str(SAMPLE))


def exchange(connection: socket.socket, request: bytes) -> bytes:
    """Send and return everything up to the end of one small answer."""
    connection.sendall(request)
    received = b""
    while b"}\n" not in received:
        more = connection.recv(65536)
        if not more:
            break
        received += more
    return received


def test_query_and_body_reach_the_service(hello: Any) -> None:
    answer = json.loads(hello.ask("/a?x=1&x=2", "POST", "text").body)
    assert answer == {"path": "/a", "query": {"x": ["1", "2"]}, "body": "text"}


def test_one_connection_carries_many_requests(hello: Any) -> None:
    with socket.create_connection(("127.0.0.1", hello.port), timeout=10) as connection:
        for _ in range(3):
            answer = exchange(connection, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"transfer-encoding: chunked", b"411"),
        (b"content-length: -1", b"400"),
        (b"content-length: 65537", b"413"),
    ],
)
def test_body_it_cannot_read_ends_the_connection(
    hello: Any, head: bytes, status: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", hello.port), timeout=10) as connection:
        request = b"POST / HTTP/1.1\r\nhost: a\r\n" + head + b"\r\n\r\n"
        answer = exchange(connection, request)
        assert answer.split()[1] == status
        assert b"connection: close" in answer
        assert connection.recv(1) == b""


def test_bug_in_the_service_is_a_500(hello: Any) -> None:
    reply = hello.ask("/bug")
    assert (reply.status, json.loads(reply.body)) == (500, {"error": "KeyError: 'oops'"})
    assert hello.ask("/").status == 200


def test_sigterm_finishes_begun_answers_and_closes_idle_connections(hello: Any) -> None:
    with (
        socket.create_connection(("127.0.0.1", hello.port), timeout=10) as idle,
        socket.create_connection(("127.0.0.1", hello.port), timeout=10) as busy,
    ):
        exchange(idle, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        busy.sendall(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
        hello.process.send_signal(signal.SIGTERM)
        answer = exchange(busy, b"")
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in answer
        assert idle.recv(1) == b""
        assert hello.process.wait(timeout=5) == 0


def test_stale_pooled_connection_is_replaced(apps: Any) -> None:
    ratings = apps.start("ratings.py")
    reviews = apps.start("reviews.py", SERVICE_VERSION="v2", RATINGS=ratings.address)
    assert b"stars" in reviews.ask("/reviews/0").body

    ratings.process.terminate()
    ratings.process.wait(timeout=10)
    apps.start("ratings.py", PORT=str(ratings.port))

    assert b"stars" in reviews.ask("/reviews/0").body


@pytest.mark.parametrize(("seconds", "connections"), [(60.0, 1), (0.0, 3)])
def test_a_kept_connection_is_not_used_for_ever(
    monkeypatch: pytest.MonkeyPatch, seconds: float, connections: int
) -> None:
    monkeypatch.syspath_prepend(str(SAMPLE))
    web = importlib.import_module("web")
    monkeypatch.setattr(web, "KEEP_SECONDS", seconds)
    server = web._Server(0, lambda request: web.answer("hello"))
    seen = []
    original = server.process_request
    monkeypatch.setattr(
        server, "process_request", lambda *given: (seen.append(given), original(*given))
    )
    serving = threading.Thread(target=server.serve_forever, args=(0.05,))
    serving.start()
    try:
        upstreams = web.Upstreams()
        for _ in range(3):
            assert upstreams.get(f"127.0.0.1:{server.server_address[1]}", "/", {}).status == 200
    finally:
        server.drain()
        serving.join()
        server.server_close()
    assert len(seen) == connections
