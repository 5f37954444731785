"""A server that speaks first: its version, then every line back. Port 8080."""

import os
import socket
import socketserver


class Lines(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self):
        """Sends the version, then what it gets."""
        self.wfile.write(f"{os.environ.get('VERSION', 'v1')}\n".encode())
        for line in self.rfile:
            self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    """Listens on every IPv4 and IPv6 address."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


Server(("::", 8080), Lines).serve_forever()
