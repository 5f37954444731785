"""Asks for the book's page again and again; the program of the demo's client pod.

    traffic.py URL CLIENTS LIMIT [HEADER:VALUE …]

CLIENTS threads ask in turn; every second one on a new connection each time, the others on
one that they keep. One JSON line per request: {"at": when it was sent in seconds of
CLOCK_MONOTONIC, "version": of reviews or null, "error": null or what went wrong}. Ends
after LIMIT requests, or as soon as its standard input is closed. Standard library only:
it runs in a pod.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

SHOWN = re.compile(rb'data-reviews-version="(v[0-9]+)"')
TIMEOUT = 10.0


class PageError(Exception):
    """The answer is not the whole page."""


def version_of(status: int, body: bytes) -> str:
    """Return the version of reviews that a page shows; raises PageError."""
    if status != 200:
        raise PageError(f"status {status}: {body[:100]!r}")
    shown = SHOWN.search(body)
    if shown is None or b"out of reach" in body:
        raise PageError("the page lacks reviews or details")
    return shown.group(1).decode()


class Client:
    """One client; `keep` keeps its connection from request to request."""

    def __init__(self, url: str, headers: dict[str, str], *, keep: bool) -> None:
        parts = urlsplit(url)
        self._path = parts.path or "/"
        self._headers = headers if keep else headers | {"connection": "close"}
        self._connection = HTTPConnection(
            parts.hostname or "", parts.port or 80, timeout=TIMEOUT
        )

    def ask(self) -> dict[str, object]:
        """Make one request; returns what became of it."""
        at = time.monotonic()
        version, error = None, None
        try:
            self._connection.request("GET", self._path, headers=self._headers)
            reply = self._connection.getresponse()
            version = version_of(reply.status, reply.read())
        except (OSError, HTTPException, PageError) as problem:
            error = f"{type(problem).__name__}: {problem}"
            self._connection.close()
        return {"at": at, "version": version, "error": error}


def run(url: str, clients: int, limit: int, headers: dict[str, str]) -> None:
    """Ask until the limit, or until standard input ends."""
    tickets = itertools.count()
    ended = threading.Event()
    lock = threading.Lock()

    def work(*, keep: bool) -> None:
        client = Client(url, headers, keep=keep)
        while not ended.is_set() and next(tickets) < limit:
            line = json.dumps(client.ask()) + "\n"
            with lock:
                sys.stdout.write(line)
                sys.stdout.flush()

    workers = [
        threading.Thread(target=work, kwargs={"keep": index % 2 == 0})
        for index in range(clients)
    ]
    for worker in workers:
        worker.start()

    def watch() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=watch, daemon=True).start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    given = dict(argument.split(":", 1) for argument in sys.argv[4:])
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), given)
