"""Why a connection by HBONE didn't come about."""

from __future__ import annotations

import errno
from typing import Final

from ztunnel_compat.session.pool import ConnectError

#: What an answer's status means to who wanted the connection (ztunnel: proxy/inbound.rs).
ERRORS: Final = {401: errno.EACCES, 403: errno.EACCES, 503: errno.ECONNREFUSED}


class TunnelError(ConnectError, OSError):
    """No stream; an OSError, as whoever connects expects. errno: the nearest of them."""

    def anew(self) -> TunnelError:
        """The same, for somebody else who waited."""
        return TunnelError(self.errno, self.strerror)


class UnprovenError(TunnelError):
    """The other end isn't who it should be, or TLS failed before that was known."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EPROTO, message)


class RefusedError(TunnelError):
    """The other end answered; status: with what."""

    def __init__(self, status: int) -> None:
        super().__init__(ERRORS.get(status, errno.ECONNABORTED), f"http status: {status}")
        self.status = status


class BrokenError(TunnelError):
    """The stream, or its connection, was gone before an answer."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.ECONNRESET, message)
