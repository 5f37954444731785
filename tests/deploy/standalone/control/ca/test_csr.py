from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.standalone.control.ca.csr import MAX_SIZE, public_key_of
from deploy.standalone.control.errors import RequestError


def signed(key: Any, digest: Any = None) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, digest)


def pem(request: x509.CertificateSigningRequest) -> str:
    return request.public_bytes(Encoding.PEM).decode()


def armoured(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


@pytest.mark.parametrize(
    ("key", "digest"),
    [
        (ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()),
        (ec.generate_private_key(ec.SECP384R1()), hashes.SHA384()),
        (rsa.generate_private_key(65537, 2048), hashes.SHA256()),
        (ed25519.Ed25519PrivateKey.generate(), None),
    ],
)
def test_good_keys(key: Any, digest: Any) -> None:
    assert public_key_of(pem(signed(key, digest))) == key.public_key()


@pytest.mark.parametrize(
    ("key", "digest", "reason"),
    [
        (rsa.generate_private_key(65537, 1024), hashes.SHA256(), "an RSA key of 1024 bits"),
        (ec.generate_private_key(ec.SECP224R1()), hashes.SHA256(), "a key on secp224r1"),
        (ed448.Ed448PrivateKey.generate(), None, "use ECDSA, RSA or Ed25519"),
    ],
)
def test_weak_ones(key: Any, digest: Any, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        public_key_of(pem(signed(key, digest)))


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
)
def test_who_has_not_the_key_gets_nothing(key: Any) -> None:
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    der = bytearray(signed(key, digest).public_bytes(Encoding.DER))
    der[-1] ^= 1
    with pytest.raises(RequestError, match="its signature is not by its key"):
        public_key_of(armoured(bytes(der)))


def test_anothers_signature_is_none() -> None:
    mine, other = (
        signed(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()) for _ in "ab"
    )
    der = mine.public_bytes(Encoding.DER)
    key = mine.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)  # type: ignore[union-attr]
    foreign = other.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)  # type: ignore[union-attr]
    assert key in der
    with pytest.raises(RequestError, match="its signature is not by its key"):
        public_key_of(armoured(der.replace(key, foreign)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no PEM of a certificate request"),
        (
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
            "no PEM",
        ),
        ("\ud800", "no PEM"),
        ("x" * (MAX_SIZE + 1), f"{MAX_SIZE + 1} characters: at most {MAX_SIZE}"),
    ],
)
def test_what_is_no_request(text: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        public_key_of(text)


def test_any_bytes_are_refused_or_good() -> None:
    der = signed(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(
        Encoding.DER
    )
    for index in range(len(der)):
        changed = der[:index] + bytes([der[index] ^ 0x21]) + der[index + 1 :]
        with pytest.raises(RequestError):
            public_key_of(armoured(changed))
