"""Istio's text access log, line for line, with two fields more.

The fields are those of Istio's default text format (Envoy's, plus
RESPONSE_CODE_DETAILS, CONNECTION_TERMINATION_DETAILS and what follows the
upstream host); added here are "%DOWNSTREAM_PEER_URI_SAN%", the caller's identity as
the kernel proved it, and %GRPC_STATUS_NUMBER%. What doesn't change from one request
to the next is rendered once: per plan, per connection.
"""

from __future__ import annotations

import os
import time

#: `"METHOD PATH PROTOCOL"` and `"xff" "agent" "id" "authority"` without a request.
NO_REQUEST = '"- - HTTP/1.1"'
NO_REQUEST_2 = '"- - HTTP/2"'
NO_BYTES = '"- - -"'
NOBODY = '"-" "-" "'
NO_AUTHORITY = '" "-" "'
#: `upstream host" cluster local address`.
NO_UPSTREAM = '-" - -'
#: Envoy's flags in its order, as far as others come beside them.
FLAGS = (
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE",
    "DC", "URX", "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF",
)  # fmt: skip


class Clock:
    """Renders the time of day; a second's text is made once."""

    __slots__ = ("second", "text")

    def __init__(self) -> None:
        self.second = -1
        self.text = ""

    def render(self, wall: float) -> str:
        """``2026-01-31T12:00:00.123Z``; wall: seconds since 1970."""
        second = int(wall)
        if second != self.second:
            self.second = second
            self.text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self.text}.{int((wall - second) * 1000):03d}Z"


def quoted(value: bytes | None) -> str:
    """A header's value within quotes; ``-`` when there is none.

    Quotes and backslashes are escaped, so that no value can pose as fields.
    """
    if not value:
        return "-"
    text = value.decode("latin-1")
    if '"' in text or "\\" in text:
        return text.replace("\\", "\\\\").replace('"', '\\"')
    return text


def request_part(method: bytes, path: bytes, protocol: str = "HTTP/1.1") -> str:
    """``"METHOD PATH PROTOCOL"``."""
    return f'"{quoted(method)} {quoted(path)} {protocol}"'


def agent_part(forwarded_for: bytes | None, agent: bytes | None) -> str:
    """``"xff" "user agent" "``, up to the request id."""
    return f'"{quoted(forwarded_for)}" "{quoted(agent)}" "'


def authority_part(authority: bytes) -> str:
    """``" "authority" "``, from the request id to the upstream host."""
    return f'" "{quoted(authority)}" "'


def upstream_part(host: str, cluster: str, local: str) -> str:
    """``host" cluster local``, from within the quotes around the host."""
    return f'{host}" {cluster} {local}'


def with_flags(flags: str, more: tuple[str, ...]) -> str:
    """Flags with more of them, in Envoy's order; ``-`` for none."""
    if not more:
        return flags
    given = {*flags.split(","), *more}
    return ",".join(flag for flag in FLAGS if flag in given)


def connect_failure(error: OSError) -> str:
    """UPSTREAM_TRANSPORT_FAILURE_REASON, in Envoy's words."""
    if isinstance(error, TimeoutError):
        return "connection_timeout"
    reason = os.strerror(error.errno) if error.errno else "closed"
    return f"delayed_connect_error:_{reason.replace(' ', '_')}"


def line(
    *,
    start: str,
    request: str,
    status: int,
    flags: str,
    details: str,
    failure: str,
    received: int,
    sent: int,
    duration: int,
    service_time: str,
    agent: str,
    request_id: str,
    authority: str,
    upstream: str,
    downstream: str,
    route: str,
    peer: str,
    grpc: str = "-",
    termination: str = "-",
) -> str:
    """One line of the log, its end included.

    sizes in bytes, durations in milliseconds (service_time ``-`` when nothing
    answered); upstream: ``host" cluster local``; grpc: the status, ``-`` for none;
    termination: why a connection was ended.
    """
    return (
        f'[{start}] {request} {status} {flags} {details} {termination} "{failure}" '
        f"{received} {sent} {duration} {service_time} {agent}{request_id}{authority}"
        f'{upstream} {downstream} {route} "{peer}" {grpc}\n'
    )
