"""Key sets, and what they verify: the attacks on tokens' signatures."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.waypoint.filters.jwt.tokens import (
    ALGORITHMS,
    claims,
    encode,
    jwk,
    jwks,
    key,
    name_of,
    self_signed,
    token,
)
from waypoint.filters.jwt import keys as module
from waypoint.filters.jwt.keys import KeysError, parse_keys
from waypoint.filters.jwt.status import Status
from waypoint.filters.jwt.token import Token, parse_token


def verified(text: str, *entries: dict[str, Any]) -> Status:
    found = parse_token(text)
    assert isinstance(found, Token)
    return parse_keys(jwks(*entries).encode()).verify(found)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_algorithm(alg: str) -> None:
    own = jwk(name_of(alg))
    assert verified(token(alg=alg), own) is Status.OK
    assert verified(token(alg=alg), own | {"alg": alg, "use": "sig"}) is Status.OK
    assert verified(token(alg=alg, by=f"{name_of(alg)}-other"), own) is not Status.OK
    changed = token(alg=alg).split(".")
    changed[1] = encode(claims(sub="eve"))
    assert verified(".".join(changed), own) is Status.VERIFICATION_FAILS


def test_a_public_key_is_no_secret() -> None:
    """Signed with what everybody may read, as HS256."""
    public = key("rsa").public_key()
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(jwk("rsa")).encode(),
        base64.urlsafe_b64decode(jwk("rsa")["n"] + "=="),
    ):
        signed = f"{encode({'alg': 'HS256'})}.{encode(claims())}"
        made = f"{signed}.{encode(hmac.digest(secret, signed.encode(), 'sha256'))}"
        assert verified(made, jwk("rsa")) is Status.VERIFICATION_FAILS


def test_a_token_does_not_choose_what_a_key_is_for() -> None:
    es256, rsa = jwk("ES256"), jwk("rsa")
    confused = {"alg": "RS256", "typ": "JWT"}
    assert verified(token(header=confused, by="ES256"), es256) is Status.VERIFICATION_FAILS
    assert verified(token(header={"alg": "ES256"}), rsa) is Status.VERIFICATION_FAILS
    assert verified(token(header={"alg": "EdDSA"}), rsa) is Status.VERIFICATION_FAILS
    assert verified(token(alg="ES256", by="ES384"), jwk("ES384")) is Status.VERIFICATION_FAILS
    assert verified(token(alg="PS256"), rsa | {"alg": "RS256"}) is Status.KEY_MISMATCH


@pytest.mark.parametrize(
    ("named", "kids", "status"),
    [
        ("a", ["a"], Status.OK),
        ("a", ["b"], Status.KEY_MISMATCH),
        ("a", ["b", "a"], Status.OK),
        ("a", [None], Status.OK),
        (None, ["b"], Status.OK),
        ("../a", ["a"], Status.KEY_MISMATCH),
    ],
)
def test_key_ids(named: str | None, kids: list[str | None], status: Status) -> None:
    header = {"alg": "RS256"} | ({"kid": named} if named else {})
    entries = [jwk("rsa") | ({"kid": kid} if kid else {}) for kid in kids]
    assert verified(token(header=header), *entries) is status


def test_keys_that_come_with_a_token_count_for_nothing() -> None:
    """jwk, jku, x5u and x5c in a header are what the sender says."""
    header = {"alg": "RS256", "jwk": jwk("rsa-eve"), "jku": "http://eve/", "x5u": "http://eve/"}
    assert verified(token(header=header, by="rsa-eve"), jwk("rsa")) is Status.VERIFICATION_FAILS


@pytest.mark.parametrize("length", [0, 1, 63, 65])
def test_signatures_of_another_length(length: int) -> None:
    signed = f"{encode({'alg': 'EdDSA'})}.{encode(claims())}"
    made = f"{signed}.{encode(bytes(length) or b'x')}"
    assert verified(made, jwk("EdDSA")) is Status.SIGNATURE_WRONG_LENGTH
    signed = f"{encode({'alg': 'ES256'})}.{encode(claims())}"
    made = f"{signed}.{encode(bytes(length) or b'x')}"
    assert verified(made, jwk("ES256")) is Status.VERIFICATION_FAILS


def test_a_signature_of_zeros_is_none() -> None:
    signed = f"{encode({'alg': 'ES256'})}.{encode(claims())}"
    assert verified(f"{signed}.{encode(bytes(64))}", jwk("ES256")) is Status.VERIFICATION_FAILS


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"kty": "oct", "k": "c2VjcmV0"}, r"\[kty\] oct is not supported"),
        ({"kid": "x"}, r"\[kty\] is missing"),
        ("text", r"\[kty\] is missing"),
        ({"kty": "RSA", "n": "AQAB"}, r"\[e\] is missing"),
        ({"kty": "RSA", "n": 5, "e": "AQAB"}, r"\[n\] is missing, or no text"),
        (jwk("rsa") | {"kid": 5}, r"\[kid\] or \[alg\] is no text"),
        (jwk("rsa-small"), "has 1024 bits"),
        (jwk("rsa") | {"e": "BQ"}, "neither 3 nor 65537"),
        (jwk("rsa") | {"alg": "ES256"}, "ES256 is not for such a key"),
        (jwk("rsa") | {"alg": "HS256"}, "HS256 is not for such a key"),
        (jwk("rsa") | {"use": "enc"}, "not for signatures"),
        (jwk("rsa") | {"key_ops": ["encrypt"]}, "not for signatures"),
        (jwk("ES256") | {"crv": "P-384"}, "EC key"),
        (jwk("ES256") | {"crv": "secp256k1"}, "secp256k1 is not supported"),
        (jwk("ES256") | {"y": jwk("ES256-2")["y"]}, "EC key"),
        (jwk("EdDSA") | {"crv": "X25519"}, "X25519 is not supported"),
        (jwk("EdDSA") | {"x": "AAAA"}, "OKP key"),
    ],
)
def test_keys_that_are_not_used(entry: Any, reason: str) -> None:
    with pytest.raises(KeysError, match=reason):
        parse_keys(jwks(entry).encode())
    found = parse_keys(jwks(entry, jwk("rsa", kid="good")).encode())
    assert [each.kid for each in found.keys] == ["good"]
    assert len(found.unused) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is an invalid JSON"),
        ("[]", "is an invalid JSON"),
        ("{}", r"does not have \[keys\] field"),
        ('{"keys": {}}', r"\[keys\] is bad"),
        ('{"keys": []}', "doesn't have any valid public key"),
        ('{"keys": [], "keys": []}', "is an invalid JSON"),
        (jwks(*[{"kty": "oct"}] * 101), "has 101 keys, more than 100"),
    ],
)
def test_sets_that_are_not_used(text: str, reason: str) -> None:
    with pytest.raises(KeysError, match=reason):
        parse_keys(text.encode())


def test_certificates_by_key_id() -> None:
    text = json.dumps({"k1": self_signed(key("rsa")), "k2": self_signed(key("ES256"))})
    found = parse_keys(text.encode())
    for alg, kid in (("RS256", "k1"), ("ES256", "k2")):
        parsed = parse_token(token(alg=alg, header={"alg": alg, "kid": kid}))
        assert isinstance(parsed, Token)
        assert found.verify(parsed) is Status.OK


def test_equal_sets_are_one() -> None:
    text = jwks(jwk("rsa", kid="same")).encode()
    assert parse_keys(text) is parse_keys(bytes(text))


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KNOWN_TOKENS", 3)
    monkeypatch.setattr(module, "KNOWN_SIZE", 20)
    found = module.Keys(())
    some = parse_token(token())
    assert isinstance(some, Token)
    for name in ("a", "b", "c"):
        found.remember(name, some)
    assert found.recall("a") is some
    found.remember("d", some)
    assert list(found.known) == ["c", "a", "d"]
    found.remember("x" * 19, some)
    assert list(found.known) == ["d", "x" * 19]
    assert found.size == 20
    found.remember("y" * 30, some)
    assert (found.known, found.size) == ({}, 0)
