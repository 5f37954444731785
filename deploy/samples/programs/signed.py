"""An HTTP server that answers signed requests only (RFC 9421, hmac-sha256).

KEY_ID names the key, KEY is its base64. Answers tell the method, path and body that were
signed; 401 tells what is wrong. Port 8080; GET /health needs no signature.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY_ID = os.environ["KEY_ID"]
KEY = base64.b64decode(os.environ["KEY"])
INPUT = re.compile(r'mesh=(\(([^)]*)\);created=([0-9]+);keyid="([^"]*)")')
#: Seconds that a signature is good for.
GOOD_FOR = 60


class Signed(BaseHTTPRequestHandler):
    """Answers GET and POST."""

    protocol_version = "HTTP/1.1"

    def wrong(self, body):
        """What is wrong with the signature, or nothing."""
        found = INPUT.fullmatch(self.headers.get("signature-input", ""))
        if found is None:
            return "not signed"
        parameters, names, created, key_id = found.groups()
        if key_id != KEY_ID or abs(time.time() - int(created)) > GOOD_FOR:
            return "signed with another key, or too long ago"
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        if self.headers.get("content-digest") != f"sha-256=:{digest}:":
            return "another body"
        values = {
            '"@method"': self.command,
            '"@authority"': self.headers["host"],
            '"@request-target"': self.path,
            '"content-digest"': self.headers["content-digest"],
        }
        if set(names.split()) != set(values):
            return "not all of it is signed"
        lines = [f"{name}: {values[name]}" for name in names.split()]
        lines.append(f'"@signature-params": {parameters}')
        wanted = hmac.new(KEY, "\n".join(lines).encode("latin-1"), "sha256").digest()
        given = f"mesh=:{base64.b64encode(wanted).decode()}:"
        return "" if hmac.compare_digest(self.headers["signature"], given) else "bad signature"

    def do_GET(self):
        """Check and tell."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        wrong = "" if self.path == "/health" else self.wrong(body)
        told = {"error": wrong} if wrong else {
            "method": self.command, "path": self.path, "body": body.decode(),
        }  # fmt: skip
        answer = json.dumps(told).encode() + b"\n"
        self.send_response(401 if wrong else 200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET  # noqa: N815 - the name that http.server calls


class Server(ThreadingHTTPServer):
    """Listens on every IPv4 and IPv6 address."""

    address_family = socket.AF_INET6
    daemon_threads = True


Server(("::", 8080), Signed).serve_forever()
