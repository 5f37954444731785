"""What certificates say: a chain from the CA, and a peer's identity.

Facts: SPIFFE's X.509-SVID; istio/istio security/pkg/pki (the chain's order);
istio/ztunnel src/tls (a client may have any trusted SAN, a server one of those
that are expected).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from ztunnel_compat.csr import Key
from ztunnel_compat.errors import CertificateError, IdentityError
from ztunnel_compat.identity import Identity

#: Seconds that a CA's clock may be ahead of ours.
SKEW: Final = 60.0
#: What reading bytes that somebody else made may raise.
UNREADABLE: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class Span:
    """What is told of a certificate: its number, and from when until when it holds.

    begins, ends: Unix seconds.
    """

    serial: int
    begins: float
    ends: float

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Span:
        """A certificate's."""
        return cls(
            certificate.serial_number,
            certificate.not_valid_before_utc.timestamp(),
            certificate.not_valid_after_utc.timestamp(),
        )


@dataclass(frozen=True, slots=True)
class Certificate:
    """An identity's certificate with all that goes with it.

    chain: the leaf and its intermediates, roots: all that are trusted, both in PEM;
    spans, root_spans: the same, to be shown; key: never shown.
    """

    identity: Identity
    chain: bytes
    roots: bytes
    spans: tuple[Span, ...]
    root_spans: tuple[Span, ...]
    key: Key = field(repr=False)

    @property
    def ends(self) -> float:
        """When the leaf does, Unix seconds."""
        return self.spans[0].ends

    @property
    def half(self) -> float:
        """When it is to be renewed: half of the leaf's life, Unix seconds."""
        return (self.spans[0].begins + self.spans[0].ends) / 2

    def secret(self) -> bytes:
        """The private key in PEM."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate_of(
    answer: Sequence[str], identity: Identity, key: Key, now: float
) -> Certificate:
    """The certificate that a CA's ``cert_chain`` holds; now: Unix seconds.

    Leaf, intermediates, and last the roots, several of them perhaps. Raises
    CertificateError when it isn't what was asked for, or can't be used.
    """
    if len(answer) < 2:
        raise CertificateError(
            f"cert_chain has {len(answer)} elements: a leaf and the roots are needed"
        )
    elements = [parse(text, number) for number, text in enumerate(answer)]
    presented = [each for element in elements[:-1] for each in element]
    roots = elements[-1]
    try:
        check_leaf(presented[0], identity, key, now)
        check_chain(presented, roots)
        spans, root_spans = tuple(map(Span.of, presented)), tuple(map(Span.of, roots))
    except (IdentityError, *UNREADABLE) as error:
        raise CertificateError(f"the certificate for {identity}: {error}") from error
    return Certificate(identity, pem(presented), pem(roots), spans, root_spans, key)


def check_leaf(leaf: x509.Certificate, identity: Identity, key: Key, now: float) -> None:
    """Raise unless a certificate is what was asked for, and holds now."""
    if leaf.public_key() != key.public_key():
        raise CertificateError(f"the certificate for {identity} is for another key")
    found = identity_of(leaf)
    if found != identity:
        raise CertificateError(f"asked for {identity}, the certificate is for {found}")
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if ends.timestamp() <= now:
        raise CertificateError(f"the certificate for {identity} ended {ends.isoformat()}")
    if begins.timestamp() > now + SKEW:
        raise CertificateError(
            f"the certificate for {identity} holds from {begins.isoformat()} on: is the time "
            "of this machine right?"
        )


def pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Certificates as one text."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def check_chain(
    presented: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> None:
    """Raise CertificateError unless one of the roots vouches for the first certificate.

    Each presented one is signed by the next, the last by a root: no peer would believe
    anything else, and here it can be said why.
    """
    for signed, signer in pairwise(presented):
        if not is_signed(signed, signer):
            raise CertificateError(
                f"cert_chain: {name_of(signed)} is not signed by what follows it, "
                f"{name_of(signer)}"
            )
    if not any(is_signed(presented[-1], root) for root in roots):
        raise CertificateError(
            f"cert_chain: none of its {len(roots)} roots signed {name_of(presented[-1])}"
        )


def is_signed(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    """Whether a certificate bears the signature of another's key."""
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def name_of(certificate: x509.Certificate) -> str:
    """What an authority's certificate is called in errors; a leaf has no name."""
    return certificate.subject.rfc4514_string() or "the leaf"


def parse(text: str, number: int) -> list[x509.Certificate]:
    """The certificates in one element of a chain; raises CertificateError."""
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except UNREADABLE as error:
        raise CertificateError(
            f"element {number} of cert_chain is no certificate in PEM"
        ) from error


def peer_identity(certificate: bytes) -> Identity:
    """The identity in a certificate (DER); raises IdentityError.

    It must have been verified: this only reads it.
    """
    try:
        return identity_of(x509.load_der_x509_certificate(certificate))
    except UNREADABLE as error:
        raise IdentityError(f"no certificate: {error}") from error


def identity_of(certificate: x509.Certificate) -> Identity:
    """The one SPIFFE ID among its SANs; raises IdentityError.

    As the X.509-SVID standard has it (4.1, 2): exactly one URI, and no authority's.
    """
    try:
        extensions = certificate.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        raise IdentityError("the certificate has no SAN") from None
    except UNREADABLE as error:
        raise IdentityError(f"the certificate's extensions can't be read: {error}") from error
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise IdentityError(f"the certificate has {len(uris)} URI SANs; an SVID has one")
    if any(isinstance(e.value, x509.BasicConstraints) and e.value.ca for e in extensions):
        raise IdentityError(f"the certificate of {uris[0]} is an authority's, not a workload's")
    return Identity.parse(uris[0])


def verify_peer(
    certificate: bytes | None,
    trust_domains: Collection[str],
    expected: Collection[Identity] | None = None,
) -> Identity:
    """Who a verified certificate (DER) speaks for; raises CertificateError.

    trust_domains: ours and its aliases; expected: identities of which it must have
    one, None for any.
    """
    if certificate is None:
        raise CertificateError("the peer has shown no certificate")
    try:
        identity = peer_identity(certificate)
    except IdentityError as error:
        raise CertificateError(str(error)) from error
    if identity.trust_domain not in trust_domains:
        ours = ", ".join(sorted(trust_domains))
        raise CertificateError(f"{identity} is of another trust domain than {ours}")
    if expected is not None and identity not in expected:
        wanted = " or ".join(sorted(map(str, expected))) or "nobody"
        raise CertificateError(f"the peer is {identity}, expected {wanted}")
    return identity
