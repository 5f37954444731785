"""The program of the client pod, against the real sample."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.demo import traffic
from tests.support.bookinfo import App, Apps


@pytest.fixture(scope="module")
def page() -> Iterator[App]:
    apps = Apps()
    details = apps.start("details.py")
    reviews = apps.start("reviews.py", SERVICE_VERSION="v1")
    yield apps.start("productpage.py", DETAILS=details.address, REVIEWS=reviews.address)
    apps.close()


def traffic_process(url: str, limit: int, *headers: str) -> subprocess.Popen[str]:
    argv = [sys.executable, str(Path(traffic.__file__)), url, "4", str(limit), *headers]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def answers(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_ends_at_the_limit_with_one_line_per_request(page: App) -> None:
    with traffic_process(f"http://{page.address}/productpage", 41) as process:
        assert process.stdout is not None
        output = process.stdout.read()
    seen = answers(output)
    assert [(each["version"], each["error"]) for each in seen] == [("v1", None)] * 41
    assert process.returncode == 0


def test_ends_when_its_input_is_closed(page: App) -> None:
    with traffic_process(f"http://{page.address}/productpage", 10**6) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        process.stdin.close()
        process.stdout.read()
    assert process.returncode == 0


def test_failure_is_told_and_goes_on() -> None:
    with traffic_process("http://127.0.0.1:1/", 3) as process:
        assert process.stdout is not None
        seen = answers(process.stdout.read())
    assert [each["version"] for each in seen] == [None] * 3
    assert all(each["error"].startswith("ConnectionRefusedError") for each in seen)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, b'data-reviews-version="v1"'),
        (200, b'data-reviews-version="none"'),
        (200, b'data-reviews-version="v1" details are out of reach'),
    ],
)
def test_part_of_a_page_is_a_failure(status: int, body: bytes) -> None:
    with pytest.raises(traffic.PageError):
        traffic.version_of(status, body)


def test_headers_and_both_kinds_of_connection() -> None:
    page = b'<main data-reviews-version="v2">'
    reply = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(page), page)
    requests: list[bytes] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        traffic_process(
            f"http://127.0.0.1:{listener.getsockname()[1]}/p", 10**6, "end-user:jason"
        ) as process,
    ):
        listener.settimeout(10)
        # Each kind has threads of its own, which may start later than the other's. Of four
        # clients, one that asks twice has told what it got before any is cut off.
        while len(requests) < 6 or len({b"connection: close\r\n" in r for r in requests}) < 2:
            connection, _ = listener.accept()
            with connection:
                requests.append(connection.recv(65536))
                connection.sendall(reply)
        assert process.stdin is not None
        process.stdin.close()
        listener.close()
        assert process.stdout is not None
        assert answers(process.stdout.read())[0]["version"] == "v2"
    assert all(b"end-user: jason\r\n" in each for each in requests)
