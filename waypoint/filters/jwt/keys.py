"""Public keys, from a JSON Web Key Set (RFC 7517), and what they signed.

Only public keys count: whoever may read a set must not be able to sign. Which
algorithm a key is for follows from the key, never from the token alone.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from typing import Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate
from jwt.algorithms import (
    Algorithm,
    ECAlgorithm,
    OKPAlgorithm,
    RSAAlgorithm,
    RSAPSSAlgorithm,
)
from jwt.exceptions import PyJWTError

from waypoint.errors import WaypointError
from waypoint.filters.jwt.json_text import read_object
from waypoint.filters.jwt.status import Status
from waypoint.filters.jwt.token import Token, decode_base64

#: Keys of a set: a token without a kid is held against each of them.
MOST_KEYS = 100
#: RFC 7518 section 3.3; and what checking one signature may cost.
SMALLEST, LARGEST = 2048, 8192
EXPONENTS = (3, 65537)
SIGNATURE = 64
#: By curve: the algorithm that it is for.
CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
CURVE_NAMES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
RSA = tuple(f"{family}{bits}" for family in ("RS", "PS") for bits in (256, 384, 512))
CERTIFICATE = "-----BEGIN CERTIFICATE-----\n"
VERIFIERS: dict[str, Algorithm] = {
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "RS384": RSAAlgorithm(RSAAlgorithm.SHA384),
    "RS512": RSAAlgorithm(RSAAlgorithm.SHA512),
    "PS256": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA256),
    "PS384": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA384),
    "PS512": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA512),
    "ES256": ECAlgorithm(ECAlgorithm.SHA256),
    "ES384": ECAlgorithm(ECAlgorithm.SHA384),
    "ES512": ECAlgorithm(ECAlgorithm.SHA512),
    "EdDSA": OKPAlgorithm(),
}
#: Tokens that a set has verified and still knows: how many, and of how many characters.
KNOWN_TOKENS, KNOWN_SIZE = 1000, 1 << 20


class KeysError(WaypointError):
    """A key set can't be used; the message says why."""


class Key(NamedTuple):
    """A public key; kid, alg: as the set says, or empty; fits: what it may verify."""

    kid: str
    alg: str
    fits: tuple[str, ...]
    public: RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


class Keys:
    """A key set, with the tokens that it verified lately; unused: what can't be used."""

    __slots__ = ("keys", "known", "size", "unused")

    def __init__(self, keys: tuple[Key, ...], unused: tuple[str, ...] = ()) -> None:
        self.keys = keys
        self.unused = unused
        self.known: OrderedDict[str, Token] = OrderedDict()
        self.size = 0

    def recall(self, text: str) -> Token | None:
        """A token whose signature was found good."""
        token = self.known.get(text)
        if token is not None:
            self.known.move_to_end(text)
        return token

    def remember(self, text: str, token: Token) -> None:
        """Keep a token whose signature is good, instead of those not seen for longest."""
        if text in self.known:
            return
        self.known[text] = token
        self.size += len(text)
        while len(self.known) > KNOWN_TOKENS or self.size > KNOWN_SIZE:
            self.size -= len(self.known.popitem(last=False)[0])

    def verify(self, token: Token) -> Status:
        """Whether one of the keys made the token's signature."""
        matched = False
        for key in self.keys:
            if token.kid and key.kid and key.kid != token.kid:
                continue
            if key.alg and key.alg != token.alg:
                continue
            matched = True
            if token.alg not in key.fits:
                continue
            if token.alg == "EdDSA" and len(token.signature) != SIGNATURE:
                return Status.SIGNATURE_WRONG_LENGTH
            if VERIFIERS[token.alg].verify(token.signed, key.public, token.signature):
                return Status.OK
        return Status.VERIFICATION_FAILS if matched else Status.KEY_MISMATCH


@lru_cache(maxsize=64)
def parse_keys(data: bytes) -> Keys:
    """Read a key set; raises KeysError when no key of it can be used.

    Equal texts give one set, so that what it has verified is known wherever it is used.
    """
    document = read_object(data)
    if document is None:
        raise KeysError("is an invalid JSON")
    entries = document.get("keys")
    if entries is None and document and all(is_certificate(v) for v in document.values()):
        entries = [{"kty": "x509", "kid": kid, "pem": pem} for kid, pem in document.items()]
    if not isinstance(entries, list):
        raise KeysError("does not have [keys] field" if entries is None else "[keys] is bad")
    if len(entries) > MOST_KEYS:
        raise KeysError(f"has {len(entries)} keys, more than {MOST_KEYS}")
    keys: list[Key] = []
    unused: list[str] = []
    for index, entry in enumerate(entries):
        try:
            keys.append(read_key(entry))
        except KeysError as error:
            unused.append(f"keys[{index}]: {error}")
    if not keys:
        raise KeysError("; ".join(["doesn't have any valid public key", *unused[:3]]))
    return Keys(tuple(keys), tuple(unused))


def is_certificate(value: Any) -> bool:
    """Whether this is a certificate by kid, which some issuers publish instead."""
    return isinstance(value, str) and value.startswith(CERTIFICATE)


def read_key(entry: Any) -> Key:
    """Read a JSON Web Key; raises KeysError."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kty"), str):
        raise KeysError("[kty] is missing")
    kid, alg = entry.get("kid", ""), entry.get("alg", "")
    if not isinstance(kid, str) or not isinstance(alg, str):
        raise KeysError("[kid] or [alg] is no text")
    if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ["verify"]):
        raise KeysError("is not for signatures")
    try:
        fits, public = READERS.get(entry["kty"], unknown_type)(entry)
    except (PyJWTError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeysError(f"{entry['kty']} key: {error}") from error
    if alg and alg not in fits:
        raise KeysError(f"[alg] {alg} is not for such a key")
    return Key(kid, alg, fits, public)


def unknown_type(entry: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
    """Raise KeysError: among others, a symmetric key is none that may be published."""
    raise KeysError(f"[kty] {entry['kty']} is not supported")


def read_rsa(entry: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
    """What an RSA key may verify, and the key."""
    members = texts(entry, "n", "e")
    public = RSAAlgorithm.from_jwk({"kty": "RSA", **members})
    return RSA, checked_rsa(public)


def checked_rsa(public: Any) -> RSAPublicKey:
    """An RSA key, if it may be used; raises KeysError."""
    if not isinstance(public, RSAPublicKey):
        raise KeysError("is no RSA key")
    if not SMALLEST <= public.key_size <= LARGEST:
        raise KeysError(f"has {public.key_size} bits, not {SMALLEST} to {LARGEST}")
    if public.public_numbers().e not in EXPONENTS:
        raise KeysError("[e] is neither 3 nor 65537")
    return public


def read_ec(entry: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
    """What a key on a curve may verify, and the key."""
    members = texts(entry, "crv", "x", "y")
    if members["crv"] not in CURVES:
        raise KeysError(f"[crv] {members['crv']} is not supported")
    return (CURVES[members["crv"]],), ECAlgorithm.from_jwk({"kty": "EC", **members})


def read_okp(entry: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
    """What an Edwards curve's key may verify, and the key."""
    members = texts(entry, "crv", "x")
    raw = decode_base64(members["x"])
    if members["crv"] != "Ed25519" or raw is None:
        raise KeysError(f"[crv] {members['crv']} is not supported, or [x] is no Base64url")
    return ("EdDSA",), Ed25519PublicKey.from_public_bytes(raw)


def read_certificate(entry: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
    """What a certificate's key may verify, and the key."""
    public = load_pem_x509_certificate(texts(entry, "pem")["pem"].encode()).public_key()
    if isinstance(public, EllipticCurvePublicKey) and public.curve.name in CURVE_NAMES:
        return (CURVE_NAMES[public.curve.name],), public
    return RSA, checked_rsa(public)


def texts(entry: dict[str, Any], *names: str) -> dict[str, str]:
    """A key's members; raises KeysError where one is no text."""
    for name in names:
        if not isinstance(entry.get(name), str):
            raise KeysError(f"[{name}] is missing, or no text")
    return {name: entry[name] for name in names}


READERS = {"RSA": read_rsa, "EC": read_ec, "OKP": read_okp, "x509": read_certificate}
