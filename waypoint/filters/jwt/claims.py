"""What of a good token is told: to filters and routes as notes, to endpoints in headers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

#: What no header's value may have (RFC 9110 section 5.5).
UNFIT = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
MOST = float(1 << 64)


def normalized(payload: Mapping[str, Any], delimited: Sequence[str]) -> Mapping[str, Any]:
    """A payload with texts that are lists, such as scopes, as lists."""
    lists = {
        name: payload[name].split()
        for name in delimited
        if isinstance(payload.get(name), str) and payload[name].split()
    }
    return {**payload, **lists} if lists else payload


def claim_at(payload: Mapping[str, Any], path: Sequence[str]) -> Any:
    """A claim, or one inside of it; None where it isn't."""
    value: Any = payload
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def header_value(claim: Any) -> bytes:
    """A claim as a header has it; empty where it can't be one.

    Objects and lists are JSON in Base64; whole numbers have no point.
    """
    match claim:
        case None:
            return b""
        case str():
            value = claim.encode()
        case bool():
            value = b"true" if claim else b"false"
        case int() if 0 <= claim < MOST:
            value = b"%d" % claim
        case float() if claim.is_integer() and 0 <= claim < MOST:
            value = b"%d" % int(claim)
        case int() | float():
            value = b"%f" % float(claim)
        case _:
            text = json.dumps(claim, separators=(",", ":"), ensure_ascii=False)
            value = base64.b64encode(text.encode())
    return b"" if UNFIT.search(value) or value != value.strip(b" \t") else value


def padded(text: str) -> str:
    """Base64url with its padding."""
    return text + "=" * (-len(text) % 4)
