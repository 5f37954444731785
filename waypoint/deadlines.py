"""How long gRPC callers wait, by what they say and what routes honour."""

from __future__ import annotations

import re

from waypoint.messages import Request
from waypoint.routing import Forward

GRPC_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
#: Seconds of grpc-timeout's units.
UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def asked_deadline(request: Request, action: Forward) -> float | None:
    """The time that a gRPC caller gives, as far as its route honours that."""
    most = action.max_grpc_timeout
    asked = grpc_deadline(request) if most is not None else None
    if asked is None or most is None:
        return None
    return min(asked, most) if most else asked


def grpc_deadline(request: Request) -> float | None:
    """How long a gRPC caller waits, in seconds; None: for ever, or it can't be read."""
    value = request.header(b"grpc-timeout")
    parts = GRPC_TIMEOUT.fullmatch(value) if value is not None else None
    if parts is None:
        return None
    count, unit = parts.groups()
    return int(count) * UNITS[unit]
