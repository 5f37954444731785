"""An HTTP server that fails as its path says, a number of times for each key.

    trouble.py PORT

`/fail/KEY/TIMES/STATUS`, `/drop/KEY/TIMES` (the connection), `/slow/KEY/TIMES/MILLISECONDS`;
what comes after that, and all else, is answered with `{"name", "attempt", "headers"}`.
`/seen` tells how often each path was asked for.
"""

import json
import os
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = os.environ["NAME"]
SEEN = Counter()
LOCK = threading.Lock()


class Trouble(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def do_GET(self):
        if self.path == "/seen":
            self.answer(dict(SEEN))
            return
        with LOCK:
            SEEN[self.path] += 1
            attempt = SEEN[self.path]
        _, what, *rest = self.path.split("/")
        status = 200
        if what in {"fail", "drop", "slow"} and attempt <= int(rest[1]):
            if what == "drop":
                self.close_connection = True
                return
            if what == "fail":
                status = int(rest[2])
            else:
                time.sleep(int(rest[2]) / 1000)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.answer({"name": NAME, "attempt": attempt, "headers": headers}, status)

    def do_OPTIONS(self):
        self.do_GET()

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


Server(("0.0.0.0", int(sys.argv[1])), Trouble).serve_forever()
