"""What may be signed: a request's public key, once it is proven and strong enough.

Nothing else of a request counts, as with istiod: names come from who asks.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from deploy.standalone.control.errors import RequestError

#: Characters of a request. One with an RSA key of 8192 bits has about 3,000.
MAX_SIZE = 16 << 10
RSA_BITS = (2048, 8192)
CURVES = ("secp256r1", "secp384r1", "secp521r1")
DIGESTS = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


def public_key_of(csr: str) -> CertificatePublicKeyTypes:
    """The key of a request in PEM; raises RequestError, which says what is wrong."""
    if len(csr) > MAX_SIZE:
        raise RequestError(f"csr: {len(csr)} characters: at most {MAX_SIZE}")
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        key = request.public_key()
        digest = request.signature_hash_algorithm
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise RequestError(f"csr: no PEM of a certificate request: {error}") from error
    check_strength(key)
    if not isinstance(key, ed25519.Ed25519PublicKey) and not isinstance(digest, DIGESTS):
        name = digest.name if digest else "nothing"
        raise RequestError(f"csr: signed with {name}: use SHA-256 or better")
    try:
        proven = request.is_signature_valid
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        proven = False
    if not proven:
        raise RequestError("csr: its signature is not by its key: who asks must have the key")
    return key


def check_strength(key: CertificatePublicKeyTypes) -> None:
    """Raise RequestError for a key of another kind, or a weak one."""
    match key:
        case ec.EllipticCurvePublicKey():
            if key.curve.name not in CURVES:
                raise RequestError(f"csr: a key on {key.curve.name}: use {', '.join(CURVES)}")
        case rsa.RSAPublicKey():
            least, most = RSA_BITS
            if not least <= key.key_size <= most:
                raise RequestError(
                    f"csr: an RSA key of {key.key_size} bits: use {least} to {most}"
                )
        case ed25519.Ed25519PublicKey():
            pass
        case _:
            raise RequestError(f"csr: a {type(key).__name__}: use ECDSA, RSA or Ed25519")
