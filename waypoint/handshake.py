"""WebSocket's handshake where only one side has one (RFC 6455 section 4, RFC 8441)."""

from __future__ import annotations

import base64
import hashlib
import secrets

from waypoint.layers.headers import Field
from waypoint.messages import Request, Response

KEY = b"sec-websocket-key"
ACCEPT = b"sec-websocket-accept"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(key: bytes) -> bytes:
    """What proves that a server has read a key."""
    digest = hashlib.sha1(key + GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest)


def new_key() -> bytes:
    """A key for a request that came by HTTP/2, which has none."""
    return base64.b64encode(secrets.token_bytes(16))


def accept_line(request: Request, response: Response) -> bytes:
    """The line that an HTTP/1.1 client waits for, when the endpoint didn't send it."""
    key = request.header(KEY)
    if key is None or any(name == ACCEPT for name, _ in response.fields):
        return b""
    return ACCEPT + b": " + accept_of(key) + b"\r\n"


def accepts(fields: tuple[Field, ...], key: bytes) -> bool:
    """Whether a server's answer proves that it has read a key of ours."""
    return (ACCEPT, accept_of(key)) in fields
