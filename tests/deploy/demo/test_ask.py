from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from deploy.demo import ask


class Teapot(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = 418 if self.headers.get("x-demo") == "1" else 200
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def run(*arguments: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, ask.__file__, *arguments], capture_output=True, text=True, check=True
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_answers_and_refusals_are_told() -> None:
    with HTTPServer(("127.0.0.1", 0), Teapot) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        assert run(url) == {"status": 200, "error": None}
        assert run(url, "x-demo:1") == {"status": 418, "error": None}
        server.shutdown()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = run(f"http://127.0.0.1:{closed.getsockname()[1]}/")
    assert refused["status"] is None
    assert "ConnectionRefusedError" in str(refused["error"])
