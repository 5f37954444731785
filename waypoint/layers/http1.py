"""Finding heads in a stream of bytes: where one ends, or why none ever will.

The parts: headers (blocks and framing words), request and response (heads as
records), body (where a message ends), memo (heads seen before).
"""

from __future__ import annotations

from waypoint.errors import MessageError
from waypoint.layers.headers import HEAD_LIMIT
from waypoint.layers.request import HOPELESS, bad_request
from waypoint.layers.response import broken

END = b"\r\n\r\n"


def find_head(buffer: bytes | bytearray, searched: int = 0) -> int:
    """The length of the request head in front, or 0 when it is not whole yet.

    searched: how much of the buffer was looked at before. Raises MessageError as
    soon as no more bytes can help: broken lines (400), a request line (414) or a
    head (431) beyond the limit.
    """
    found = buffer.find(END, max(0, searched - 3))
    length = found + 4
    if found >= 0 and length <= HEAD_LIMIT:
        return length
    if HOPELESS.search(buffer, max(0, searched - 1), HEAD_LIMIT) is not None:
        raise bad_request("a line ends without CRLF, or no request line is in front")
    if found >= 0 or len(buffer) >= HEAD_LIMIT:
        if buffer.find(b"\r\n", 0, HEAD_LIMIT) < 0:
            raise MessageError(
                414, "http1.headers_too_large", f"a request line beyond {HEAD_LIMIT} bytes"
            )
        raise MessageError(431, "http1.headers_too_large", f"a head beyond {HEAD_LIMIT} bytes")
    return 0


def find_response_head(buffer: bytes | bytearray, searched: int = 0) -> int:
    """The length of the response head in front, or 0; raises MessageError (502)."""
    found = buffer.find(END, max(0, searched - 3))
    if 0 <= found <= HEAD_LIMIT - 4:
        return found + 4
    if not b"HTTP/1.".startswith(bytes(buffer[:7])):
        raise broken(f"{bytes(buffer[:20])!r} is no HTTP/1.1 response")
    if len(buffer) >= HEAD_LIMIT:
        raise broken(f"a head beyond {HEAD_LIMIT} bytes")
    return 0
