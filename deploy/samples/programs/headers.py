"""An HTTP server that tells its version and the headers that it was sent. Port 8080."""

import json
import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ.get("VERSION", "v1")


class Headers(BaseHTTPRequestHandler):
    """Answers GET requests."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Tell what came."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"version": VERSION, "headers": headers}).encode() + b"\n"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Listens on every IPv4 and IPv6 address."""

    address_family = socket.AF_INET6
    daemon_threads = True


Server(("::", 8080), Headers).serve_forever()
