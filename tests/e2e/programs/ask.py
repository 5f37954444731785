"""Asks for what its argument lists, and tells each answer on a line.

    ask.py JSON

[{"host", "port", "method", "path", "headers": [[name, value]…], "times"}…]. Output, a line
each: {"status", "headers": {…}, "body"}; status 0 and the error where there is none.
"""

import http.client
import json
import sys


def ask(wanted):
    connection = http.client.HTTPConnection(wanted["host"], wanted.get("port", 80), timeout=10)
    try:
        names = {name.lower() for name, _ in wanted.get("headers", ())}
        connection.putrequest(
            wanted.get("method", "GET"), wanted.get("path", "/"), skip_host="host" in names
        )
        for name, value in wanted.get("headers", ()):
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        text = response.read().decode()
        try:
            body = json.loads(text)
        except ValueError:
            body = text
        headers = {name.lower(): value for name, value in response.getheaders()}
        return {"status": response.status, "headers": headers, "body": body}
    except (OSError, http.client.HTTPException) as error:
        return {"status": 0, "headers": {}, "body": f"{type(error).__name__}: {error}"}
    finally:
        connection.close()


for each in json.loads(sys.argv[1]):
    for _ in range(each.get("times", 1)):
        print(json.dumps(ask(each)), flush=True)
