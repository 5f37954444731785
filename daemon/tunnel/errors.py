"""Why a tunnelled connection didn't come about, or broke."""

from __future__ import annotations

from enum import StrEnum


class ResponseFlag(StrEnum):
    """What Istio's metrics say of how a connection went (ztunnel: proxy/metrics.rs)."""

    NONE = "-"
    CONNECT = "CONNECT"
    DENY = "DENY"
    TLS_FAILURE = "TLS_FAILURE"
    H2_HANDSHAKE_FAILURE = "H2_HANDSHAKE_FAILURE"
    IDENTITY_ERROR = "IDENTITY_ERROR"


class TunnelError(Exception):
    """A tunnelled connection failed; flag: how it is counted."""

    def __init__(self, flag: ResponseFlag, message: str) -> None:
        super().__init__(message)
        self.flag = flag
