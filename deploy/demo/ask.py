"""Makes one request on a connection of its own; run in pods by the demo.

    ask.py URL [HEADER:VALUE …]

Prints one JSON line: {"status": of the answer or null, "error": null or what went
wrong}. Standard library only: it runs in a pod.
"""

from __future__ import annotations

import json
import sys
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

TIMEOUT = 10.0


def ask(url: str, headers: dict[str, str]) -> dict[str, object]:
    """Make the request; returns what became of it."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=TIMEOUT)
    try:
        connection.request("GET", parts.path or "/", headers=headers | {"connection": "close"})
        reply = connection.getresponse()
        reply.read()
    except (OSError, HTTPException) as error:
        return {"status": None, "error": f"{type(error).__name__}: {error}"}
    finally:
        connection.close()
    return {"status": reply.status, "error": None}


if __name__ == "__main__":
    given = dict(argument.split(":", 1) for argument in sys.argv[2:])
    sys.stdout.write(json.dumps(ask(sys.argv[1], given)) + "\n")
