"""Keys, key sets and tokens, good and bad ones; the same in every run of a process."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.utils import der_to_raw_signature

ISSUER = "https://issuer.example"
OTHER = "https://other.example"
AUDIENCE = "https://shop.example/"
HASHES: dict[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512(),
}  # fmt: skip
CURVES: dict[str, ec.EllipticCurve] = {
    "ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1(),
}  # fmt: skip
ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip


@cache
def key(name: str) -> Any:
    """A private key: what its name begins with says of which kind."""
    if name.startswith("Ed"):
        return ed25519.Ed25519PrivateKey.generate()
    if name[:5] in CURVES:
        return ec.generate_private_key(CURVES[name[:5]])
    return rsa.generate_private_key(65537, 1024 if "small" in name else 2048)


def name_of(alg: str) -> str:
    """The key for an algorithm: one RSA key serves all of RSA's."""
    return "rsa" if alg[:2] in {"RS", "PS"} else alg


def jwk(name: str, **more: Any) -> dict[str, Any]:
    """The public half of a key, as a JSON Web Key."""
    public = key(name).public_key()
    for algorithm, kind in (
        (RSAAlgorithm, rsa.RSAPublicKey),
        (ECAlgorithm, ec.EllipticCurvePublicKey),
        (OKPAlgorithm, ed25519.Ed25519PublicKey),
    ):
        if isinstance(public, kind):
            made: dict[str, Any] = algorithm.to_jwk(public, as_dict=True)  # type: ignore[attr-defined]
            made.pop("key_ops", None)
            return made | more
    raise TypeError(name)


def jwks(*keys: dict[str, Any]) -> str:
    """A key set."""
    return json.dumps({"keys": keys})


def encode(data: bytes | dict[str, Any]) -> str:
    """Base64url, of JSON where it is an object."""
    raw = json.dumps(data).encode() if isinstance(data, dict) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign(private: Any, alg: str, data: bytes) -> bytes:
    """A signature."""
    digest = HASHES.get(alg[2:], HASHES["256"])
    if isinstance(private, rsa.RSAPrivateKey):
        if alg.startswith("PS"):
            pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
            return private.sign(data, pss, digest)
        return private.sign(data, padding.PKCS1v15(), digest)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return der_to_raw_signature(private.sign(data, ec.ECDSA(digest)), private.curve)
    signed: bytes = private.sign(data)
    return signed


def claims(**more: Any) -> dict[str, Any]:
    """What a good token says; None takes a claim away."""
    now = int(time.time())
    said = {"iss": ISSUER, "sub": "anna", "iat": now, "exp": now + 600, **more}
    return {name: value for name, value in said.items() if value is not None}


def token(
    payload: dict[str, Any] | bytes | None = None,
    *,
    alg: str = "RS256",
    by: str | None = None,
    header: dict[str, Any] | bytes | None = None,
) -> str:
    """A token, by default a good one; by: whose key signs."""
    said = {"alg": alg, "typ": "JWT"} if header is None else header
    content = claims() if payload is None else payload
    signed = f"{encode(said)}.{encode(content)}"
    private = key(by or name_of(alg))
    return f"{signed}.{encode(sign(private, alg, signed.encode()))}"


def self_signed(private: Any) -> str:
    """A certificate for a key, in PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
