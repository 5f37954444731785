"""Requests for certificates, as ztunnel makes them.

ECDSA on P-256 with SHA-256, an empty subject, one URI SAN (istio/ztunnel
src/tls/csr.rs); the SAN is critical, as RFC 5280, 4.2.1.6 wants with no subject.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ztunnel_compat.identity import Identity

Key = ec.EllipticCurvePrivateKey


def make_key() -> Key:
    """A new private key on P-256; takes some 20 µs."""
    return ec.generate_private_key(ec.SECP256R1())


def make_csr(identity: Identity, key: Key) -> str:
    """A request in PEM for an identity's certificate, signed with its key."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(names, critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
        .decode()
    )
