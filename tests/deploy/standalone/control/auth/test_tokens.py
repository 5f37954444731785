from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.standalone.control.auth.tokens import LIFE, MAX_SIZE, Claims, Tokens
from deploy.standalone.control.ca.certificates import make_key
from deploy.standalone.control.errors import UnauthenticatedError

KEY = make_key()
TOKENS = Tokens(KEY)
WEB = Claims("shop", "web", "web-0", "u-1", "node1")


def content(**changes: Any) -> dict[str, Any]:
    claims = jwt.decode(TOKENS.mint(WEB).token, options={"verify_signature": False})
    return {k: v for k, v in (claims | changes).items() if v is not None}


def forged(claims: dict[str, Any], key: Any = KEY) -> str:
    return jwt.encode(claims, key, "ES256")


def part(value: Any) -> str:
    return encoded(json.dumps(value).encode())


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_what_is_minted_is_good_for_an_hour() -> None:
    minted = TOKENS.mint(WEB)
    assert TOKENS.verify(minted.token) == WEB
    assert abs(minted.expires - time.time() - LIFE) < 60
    assert content()["sub"] == "system:serviceaccount:shop:web"
    assert content()["aud"] == ["istio-ca"]
    assert content()["kubernetes.io"] == {
        "namespace": "shop",
        "serviceaccount": {"name": "web"},
        "pod": {"name": "web-0", "uid": "u-1"},
        "node": {"name": "node1"},
    }


NONE = f"{part({'alg': 'none'})}.{part(content())}."
#: Signed with what everybody knows, as if that were a shared secret.
PUBLIC = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
SIGNED = f"{part({'alg': 'HS256'})}.{part(content())}"
SYMMETRIC = f"{SIGNED}.{encoded(hmac.digest(PUBLIC, SIGNED.encode(), 'sha256'))}"
POD = content()["kubernetes.io"]


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (NONE, "its algorithm is not ES256"),
        (NONE + TOKENS.mint(WEB).token.rpartition(".")[2], "its algorithm is not ES256"),
        (SYMMETRIC, "its algorithm is not ES256"),
        (forged(content(), make_key()), "its signature is not this mesh's"),
        (forged(content(aud=["istio-pilot"])), "its audience is not 'istio-ca'"),
        (forged(content(aud=None)), 'missing the "aud" claim'),
        (forged(content(iss="kubernetes")), "its issuer is not 'tandem'"),
        (forged(content(exp=None)), 'missing the "exp" claim'),
        (forged(content(exp="never")), "not one of this mesh's"),
        (Tokens(KEY, lambda: time.time() - LIFE - 1).mint(WEB).token, "it has expired"),
        (forged(content(sub="shop/web")), "expected system:serviceaccount:"),
        (forged(content(sub="system:serviceaccount:shop:")), "expected system:"),
        (forged(content(sub="system:serviceaccount:a:b")), "is not the account of"),
        (forged(content(**{"kubernetes.io": None})), "says nothing of 'kubernetes.io'"),
        (forged(content(**{"kubernetes.io": POD | {"node": {}}})), "says nothing of 'name'"),
        (forged(content(**{"kubernetes.io": "x"})), "must be bound to a pod and a node"),
        ("", "not one of this mesh's"),
        ("a.b.c", "not one of this mesh's"),
        ("x" * (MAX_SIZE + 1), f"{MAX_SIZE + 1} characters"),
    ],
)  # fmt: skip
def test_what_is_not_good(token: str, reason: str) -> None:
    with pytest.raises(UnauthenticatedError, match="token: ") as caught:
        TOKENS.verify(token)
    assert reason in str(caught.value)


def test_no_changed_byte_goes_through() -> None:
    token = TOKENS.mint(WEB).token
    # The last character of base64 has bits that mean nothing.
    for index in range(len(token) - 1):
        other = "A" if token[index] != "A" else "B"
        with pytest.raises(UnauthenticatedError):
            TOKENS.verify(token[:index] + other + token[index + 1 :])
