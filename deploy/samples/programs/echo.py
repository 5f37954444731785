"""An HTTP server that tells its version and how often it was asked.

GET /slow waits 3 s; with FAILING=1 everything but /health is a 503; GET /count tells how
many requests came before. Port 8080.
"""

import json
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ.get("VERSION", "v1")
FAILING = os.environ.get("FAILING") == "1"
lock = threading.Lock()
counts = {"asked": 0}


class Echo(BaseHTTPRequestHandler):
    """Answers GET requests."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Count the request and tell the version."""
        if self.path.startswith("/slow"):
            time.sleep(3)
        if self.path not in ("/health", "/count"):
            with lock:
                counts["asked"] += 1
        status = 503 if FAILING and self.path not in ("/health", "/count") else 200
        body = json.dumps({"version": VERSION, "asked": counts["asked"]}).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Listens on every IPv4 and IPv6 address."""

    address_family = socket.AF_INET6
    daemon_threads = True


Server(("::", 8080), Echo).serve_forever()
