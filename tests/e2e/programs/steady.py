"""Asks a URL at a steady pace over new and kept connections, and tells every answer.

    steady.py URL [HEADER:VALUE …]

One JSON line per request: {"ok": bool, "name": …, "error": …, "kept": bool}. Runs
until its standard input closes, so that whoever started it decides how long.
"""

import http.client
import json
import select
import sys
from urllib.parse import urlsplit

url = urlsplit(sys.argv[1])
headers = dict(h.split(":", 1) for h in sys.argv[2:])
kept = http.client.HTTPConnection(url.hostname, url.port, timeout=10)


def ask(connection, close):
    connection.request(
        "GET", url.path or "/", headers=headers | ({"connection": "close"} if close else {})
    )
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise RuntimeError(f"status {response.status}")
    return json.loads(body)["name"]


count = 0
while not select.select([sys.stdin], [], [], 0.005)[0]:
    count += 1
    fresh = count % 2 == 0
    connection = (
        http.client.HTTPConnection(url.hostname, url.port, timeout=10) if fresh else kept
    )
    line = {"ok": True, "kept": not fresh}
    try:
        line["name"] = ask(connection, fresh)
    except (OSError, RuntimeError, http.client.HTTPException, ValueError) as error:
        line |= {"ok": False, "error": f"{type(error).__name__}: {error}"}
        connection.close()
    if fresh:
        connection.close()
    print(json.dumps(line), flush=True)
