"""What can go wrong in HTTP/2.

H2Error
├── ConnectionFault      the peer broke the connection; on_closed has it, the output a GOAWAY
├── StreamFault          the peer broke one stream; it was reset, on_reset has the code
│   └── OversizeFault    its field section is larger than we take
├── StreamLimitError     ours: no further stream can be opened
├── QueueFullError       ours: data was sent past the mark at which to stop
└── StreamStateError     ours: a call that the stream's state doesn't allow
"""

from __future__ import annotations

from ztunnel_compat.errors import CompatError
from ztunnel_compat.h2.codes import ErrorCode


class H2Error(CompatError):
    """Base of all errors of this package."""


class ConnectionFault(H2Error):  # noqa: N818 - the peer's fault, not an error of ours
    """A connection error (RFC 9113 section 5.4.1).

    >>> str(ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on stream 3"))
    'PROTOCOL_ERROR: PING on stream 3'
    """

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.reason = reason


class StreamFault(H2Error):  # noqa: N818
    """A stream error (RFC 9113 section 5.4.2); who catches it knows the stream."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.reason = reason


class OversizeFault(StreamFault):
    """A field section beyond our SETTINGS_MAX_HEADER_LIST_SIZE."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            ErrorCode.ENHANCE_YOUR_CALM, f"a field section of {size} bytes, more than {limit}"
        )


class StreamLimitError(H2Error):
    """No stream can be opened on this connection now; use another."""


class QueueFullError(H2Error):
    """A stream's send queue is at its bound: wait for on_writable before sending on."""


class StreamStateError(H2Error):
    """The stream's state doesn't allow the call, as a second response."""
