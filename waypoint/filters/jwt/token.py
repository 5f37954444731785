"""A token taken apart: RFC 7519, with Envoy's checks in Envoy's order."""

from __future__ import annotations

import base64
import re
from typing import Any, NamedTuple

from waypoint.filters.jwt.json_text import read_object
from waypoint.filters.jwt.status import Status

#: Characters of a token that is looked at; more than most servers take in a head.
LARGEST = 32 << 10
#: HS… are names that are known; no key here can have made such a signature.
ALGORITHMS = frozenset(
    f"{family}{bits}" for family in ("RS", "PS", "ES", "HS") for bits in (256, 384, 512)
) | {"EdDSA"}
BASE64 = re.compile(r"[A-Za-z0-9_-]*={0,2}")
MOST = float(1 << 64)


class Token(NamedTuple):
    """A token; kid: empty where it has none; expires, begins: None where it doesn't say.

    payload_text: as sent; signed: what the signature is of.
    """

    header: dict[str, Any]
    payload: dict[str, Any]
    payload_text: str
    signed: bytes
    signature: bytes
    alg: str
    kid: str
    issuer: str
    subject: str
    audiences: tuple[str, ...]
    expires: int | None
    begins: int | None


def parse_token(text: str) -> Token | Status:
    """Take a token apart, or say what is wrong with it; its signature isn't looked at."""
    if len(text) > LARGEST:
        return Status.TOO_LARGE
    parts = text.split(".")
    if len(parts) != 3 or not all(parts):
        return Status.BAD_FORMAT
    header = read_header(parts[0])
    if isinstance(header, Status):
        return header
    data = decode_base64(parts[1])
    if data is None:
        return Status.PAYLOAD_BAD_BASE64
    payload = read_object(data)
    if payload is None:
        return Status.PAYLOAD_BAD_JSON
    wrong = check_claims(payload)
    if wrong is not None:
        return wrong
    signature = decode_base64(parts[2])
    if signature is None:
        return Status.SIGNATURE_BAD_BASE64
    audiences = payload.get("aud", ())
    return Token(
        header=header,
        payload=payload,
        payload_text=parts[1],
        signed=f"{parts[0]}.{parts[1]}".encode("ascii"),
        signature=signature,
        alg=header["alg"],
        kid=header.get("kid", ""),
        issuer=payload.get("iss", ""),
        subject=payload.get("sub", ""),
        audiences=(audiences,) if isinstance(audiences, str) else tuple(audiences),
        expires=whole(payload.get("exp")),
        begins=whole(payload.get("nbf")),
    )


def read_header(text: str) -> dict[str, Any] | Status:
    """A token's header, or what is wrong with it."""
    data = decode_base64(text)
    if data is None:
        return Status.HEADER_BAD_BASE64
    header = read_object(data)
    if header is None:
        return Status.HEADER_BAD_JSON
    alg = header.get("alg")
    if not isinstance(alg, str):
        return Status.HEADER_BAD_ALG
    if alg not in ALGORITHMS:
        return Status.HEADER_UNKNOWN_ALG
    if not isinstance(header.get("kid", ""), str):
        return Status.HEADER_BAD_KID
    return Status.HEADER_CRITICAL if "crit" in header else header


def check_claims(payload: dict[str, Any]) -> Status | None:
    """What is wrong with a payload's registered claims."""
    if not isinstance(payload.get("iss", ""), str):
        return Status.ISS_NOT_STRING
    if not isinstance(payload.get("sub", ""), str):
        return Status.SUB_NOT_STRING
    for name in ("iat", "nbf", "exp"):
        wrong = check_time(payload.get(name, 0), name)
        if wrong is not None:
            return wrong
    if not isinstance(payload.get("jti", ""), str):
        return Status.JTI_NOT_STRING
    audiences = payload.get("aud", "")
    listed = audiences if isinstance(audiences, list) else [audiences]
    if not all(isinstance(audience, str) for audience in listed):
        return Status.AUD_NOT_STRING
    return None


def check_time(value: Any, name: str) -> Status | None:
    """What is wrong with a moment in seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Status[f"{name.upper()}_NOT_INTEGER"]
    if not 0 <= value < MOST:
        return Status[f"{name.upper()}_OUT_OF_RANGE"]
    return None


def whole(value: float | None) -> int | None:
    """A moment in whole seconds."""
    return None if value is None else int(value)


def decode_base64(text: str) -> bytes | None:
    """What Base64url stands for, padded or not; None where it is none."""
    if not BASE64.fullmatch(text):
        return None
    bare = text.rstrip("=")
    if len(bare) % 4 == 1 or (len(bare) < len(text) and len(text) % 4):
        return None
    return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
