"""An HTTP server that tells what it saw: its own name, the path, headers, the peer.

    echo.py PORT [NAME]

`POST /sink` counts and hashes the body; `GET /bytes/N` sends N bytes. Bodies are
streamed both ways, so that memory shows what the proxies hold and not the server.
"""

import hashlib
import json
import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = sys.argv[2] if len(sys.argv) > 2 else os.environ.get("NAME", socket.gethostname())
BLOCK = bytes(range(256)) * 256


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/bytes/"):
            left = int(self.path.rpartition("/")[2])
            self.send_response(200)
            self.send_header("content-length", str(left))
            self.end_headers()
            while left > 0:
                left -= self.wfile.write(BLOCK[: min(left, len(BLOCK))])
            return
        self.answer(
            {
                "name": NAME,
                "path": self.path,
                "headers": {k.lower(): ",".join(self.headers.get_all(k)) for k in self.headers},
                "peer": self.client_address[0],
                "local": self.connection.getsockname()[0],
            }
        )

    def blocks(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get("content-length", 0))
        while left > 0:
            block = self.rfile.read(min(left, 65536))
            if not block:
                return
            left -= len(block)
            yield block

    def do_POST(self):
        digest, total = hashlib.sha256(), 0
        for block in self.blocks():
            digest.update(block)
            total += len(block)
        self.answer({"name": NAME, "bytes": total, "sha256": digest.hexdigest()})

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 128
    daemon_threads = True

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


Server(("::", int(sys.argv[1])), Echo).serve_forever()
