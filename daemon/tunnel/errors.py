"""Why a tunnelled connection didn't come about, or broke."""

from __future__ import annotations

from enum import StrEnum

from ztunnel_compat.session.pool import ConnectError


class ResponseFlag(StrEnum):
    """What Istio's metrics say of how a connection went (ztunnel: proxy/metrics.rs)."""

    NONE = "-"
    CONNECT = "CONNECT"
    DENY = "DENY"
    TLS_FAILURE = "TLS_FAILURE"
    H2_HANDSHAKE_FAILURE = "H2_HANDSHAKE_FAILURE"
    IDENTITY_ERROR = "IDENTITY_ERROR"


class TunnelError(ConnectError):
    """A tunnelled connection failed; flag: how it is counted."""

    def __init__(self, flag: ResponseFlag, message: str) -> None:
        super().__init__(message)
        self.flag = flag

    def anew(self) -> TunnelError:
        """The same, for somebody else who waited."""
        return TunnelError(self.flag, str(self))
