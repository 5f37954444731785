"""Tokens taken apart. That Envoy says the same is tried in test_filter."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.waypoint.filters.jwt.tokens import claims, encode, token
from waypoint.filters.jwt.status import Status
from waypoint.filters.jwt.token import LARGEST, Token, decode_base64, parse_token


def parsed(payload: dict[str, Any] | bytes, header: dict[str, Any] | None = None) -> Any:
    return parse_token(f"{encode(header or {'alg': 'RS256'})}.{encode(payload)}.AAAA")


def test_a_good_token() -> None:
    text = token({"iss": "i", "sub": "s", "aud": ["a", "b"], "exp": 9.7, "nbf": 3}, header={
        "alg": "RS256", "kid": "k"})  # fmt: skip
    found = parse_token(text)
    assert isinstance(found, Token)
    assert (found.alg, found.kid, found.issuer, found.subject) == ("RS256", "k", "i", "s")
    assert (found.audiences, found.expires, found.begins) == (("a", "b"), 9, 3)
    assert found.signed.decode() == text.rpartition(".")[0]
    assert found.payload_text == text.split(".")[1]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", Status.BAD_FORMAT),
        ("a.b", Status.BAD_FORMAT),
        ("a.b.c.d", Status.BAD_FORMAT),
        # Envoy passes empty parts over: it reads three of these.
        ("a..b.c", Status.BAD_FORMAT),
        (f"{encode({'alg': 'none'})}.{encode(claims())}.", Status.BAD_FORMAT),
        (f"{encode({'alg': 'none'})}.{encode(claims())}.AA", Status.HEADER_UNKNOWN_ALG),
        ("!.e30.AA", Status.HEADER_BAD_BASE64),
        ("ü.e30.AA", Status.HEADER_BAD_BASE64),
        ("YQ.e30.AA", Status.HEADER_BAD_JSON),
        ("e30.e30.AA", Status.HEADER_BAD_ALG),
        (f"{encode({'alg': 'RS256'})}.Y.AA", Status.PAYLOAD_BAD_BASE64),
        (f"{encode({'alg': 'RS256'})}.YQ.AA", Status.PAYLOAD_BAD_JSON),
        (f"{encode({'alg': 'RS256'})}.e30.A", Status.SIGNATURE_BAD_BASE64),
        ("A" * LARGEST + ".e30.AA", Status.TOO_LARGE),
    ],
)
def test_what_is_no_token(text: str, status: Status) -> None:
    assert parse_token(text) is status


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({"alg": 5}, Status.HEADER_BAD_ALG),
        ({"alg": "rs256"}, Status.HEADER_UNKNOWN_ALG),
        ({"alg": "ES256K"}, Status.HEADER_UNKNOWN_ALG),
        ({"alg": "RS256", "kid": 5}, Status.HEADER_BAD_KID),
        ({"alg": "RS256", "crit": ["exp"]}, Status.HEADER_CRITICAL),
        ({"alg": "RS256", "crit": [], "b64": False}, Status.HEADER_CRITICAL),
    ],
)
def test_headers_that_are_refused(header: dict[str, Any], status: Status) -> None:
    assert parsed(claims(), header) is status


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (b'{"sub": "a", "sub": "b"}', Status.PAYLOAD_BAD_JSON),
        (b'{"exp": 1, "x": {"y": 1, "y": 2}}', Status.PAYLOAD_BAD_JSON),
        ({"iss": None}, Status.ISS_NOT_STRING),
        ({"sub": ["a"]}, Status.SUB_NOT_STRING),
        ({"iat": "1"}, Status.IAT_NOT_INTEGER),
        ({"nbf": True}, Status.NBF_NOT_INTEGER),
        ({"exp": None}, Status.EXP_NOT_INTEGER),
        ({"exp": -1}, Status.EXP_OUT_OF_RANGE),
        ({"exp": 1 << 64}, Status.EXP_OUT_OF_RANGE),
        ({"jti": 5}, Status.JTI_NOT_STRING),
        ({"aud": ["a", 5]}, Status.AUD_NOT_STRING),
        ({"aud": {}}, Status.AUD_NOT_STRING),
    ],
)
def test_claims_that_are_refused(payload: dict[str, Any] | bytes, status: Status) -> None:
    assert parsed(payload) is status


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", b""), ("YQ", b"a"), ("YQ==", b"a"), ("YWI=", b"ab"), ("_-8", b"\xff\xef"),
        ("Y", None), ("YQ=", None), ("YQ===", None), ("Y=Q", None), ("+/8", None),
        ("YQ\n", None), ("Y Q", None),
    ],
)  # fmt: skip
def test_base64(text: str, data: bytes | None) -> None:
    assert decode_base64(text) == data


def mangled(seed: int) -> str:
    """A good token with some characters changed, doubled or left out."""
    drawn = random.Random(seed)
    text = list(token(alg="EdDSA"))
    for _ in range(drawn.randint(1, 4)):
        at = drawn.randrange(len(text))
        text[at] = drawn.choice(["", ".", "=", "A", text[at] * 2, "\x00", "é", chr(0x2603)])
    return "".join(text)


def test_whatever_comes_is_judged() -> None:
    for seed in range(2000):
        assert isinstance(parse_token(mangled(seed)), Token | Status)


@pytest.mark.soak
def test_whatever_comes_is_judged_for_long() -> None:
    for seed in range(2000, 200_000):
        assert isinstance(parse_token(mangled(seed)), Token | Status)
