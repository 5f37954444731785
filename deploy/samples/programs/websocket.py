"""A WebSocket server that sends every text back (RFC 6455, small frames). Port 8080."""

import base64
import hashlib
import socket
import socketserver

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Echo(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self):
        """Shakes hands, then sends back each frame."""
        key = b""
        while (line := self.rfile.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"sec-websocket-key":
                key = value.strip()
        if not key:
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            return
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n"
            b"connection: upgrade\r\nsec-websocket-accept: " + accept + b"\r\n\r\n"
        )
        while len(head := self.rfile.read(2)) == 2:
            size, mask = head[1] & 127, self.rfile.read(4)
            text = bytes(b ^ mask[i % 4] for i, b in enumerate(self.rfile.read(size)))
            self.wfile.write(bytes([head[0], size]) + text)


class Server(socketserver.ThreadingTCPServer):
    """Listens on every IPv4 and IPv6 address."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


Server(("::", 8080), Echo).serve_forever()
