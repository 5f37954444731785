"""Certificates with the contents that Istio's have: values in, values out.

RFC 5280 for the fields, SPIFFE's X.509-SVID for leaves: one URI SAN, critical
because the subject is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ztunnel_compat.identity import Identity

Key = ec.EllipticCurvePrivateKey
PublicKey = CertificatePublicKeyTypes

#: istiod's for a root of its own.
ROOT_LIFE = timedelta(days=3650)
INTERMEDIATE_LIFE = timedelta(days=365)
SERVER_LIFE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Party:
    """Whose certificate it is, or who signs it."""

    name: x509.Name
    key: PublicKey

    def identifier(self) -> x509.SubjectKeyIdentifier:
        """What its key is called in certificates."""
        return x509.SubjectKeyIdentifier.from_public_key(self.key)


@dataclass(frozen=True, slots=True)
class Issuer:
    """A root, and the intermediate that signs in its name."""

    root: x509.Certificate
    root_key: Key
    intermediate: x509.Certificate
    intermediate_key: Key


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A server's key and its chain, leaf first, in PEM; renew: when (Unix seconds)."""

    key: bytes
    chain: bytes
    renew: float


def make_key() -> Key:
    """A new key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def make_issuer(trust_domain: str, now: float) -> Issuer:
    """A new root with its intermediate; now: Unix seconds."""
    key = make_key()
    itself = Party(authority_name(trust_domain, "root"), key.public_key())
    builder = authority_builder(itself, itself, now, ROOT_LIFE, path_length=1)
    root = builder.sign(key, hashes.SHA256())
    return Issuer(root, key, *make_intermediate(root, key, now))


def make_intermediate(
    root: x509.Certificate, root_key: Key, now: float
) -> tuple[x509.Certificate, Key]:
    """A new intermediate of a root; it ends with the root at the latest."""
    key = make_key()
    organization = root.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value
    owner = Party(authority_name(str(organization), "intermediate"), key.public_key())
    signer = Party(root.subject, root_key.public_key())
    life = min(INTERMEDIATE_LIFE, root.not_valid_after_utc - moment(now))
    builder = authority_builder(owner, signer, now, life, path_length=0)
    return builder.sign(root_key, hashes.SHA256()), key


def make_leaf(
    issuer: Issuer, identity: Identity, public_key: PublicKey, now: float, seconds: int
) -> x509.Certificate:
    """A workload's certificate from now on; it ends with its issuer at the latest."""
    owner = Party(x509.Name([]), public_key)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
    builder = end_builder(owner, issuer, now, timedelta(seconds=seconds))
    return builder.add_extension(names, critical=True).sign(
        issuer.intermediate_key, hashes.SHA256()
    )


def make_server(issuer: Issuer, names: Sequence[str], now: float) -> ServerCertificate:
    """A server's certificate; names: DNS names, and IP addresses as text."""
    key = make_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    owner = Party(name, key.public_key())
    alternatives = x509.SubjectAlternativeName([general_name(name) for name in names])
    builder = end_builder(owner, issuer, now, SERVER_LIFE)
    leaf = builder.add_extension(alternatives, critical=False).sign(
        issuer.intermediate_key, hashes.SHA256()
    )
    chain = pem(leaf) + pem(issuer.intermediate)
    return ServerCertificate(pem_of_key(key), chain, half_life(leaf))


def authority_builder(
    owner: Party, signer: Party, now: float, life: timedelta, *, path_length: int
) -> x509.CertificateBuilder:
    """What roots and intermediates have in common."""
    return (
        base_builder(owner, signer, now, life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(sign=False), critical=True)
    )


def end_builder(
    owner: Party, issuer: Issuer, now: float, life: timedelta
) -> x509.CertificateBuilder:
    """What leaves and servers' certificates have in common."""
    signer = Party(issuer.intermediate.subject, issuer.intermediate_key.public_key())
    life = min(life, issuer.intermediate.not_valid_after_utc - moment(now))
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        base_builder(owner, signer, now, life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(sign=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    )


def base_builder(
    owner: Party, signer: Party, now: float, life: timedelta
) -> x509.CertificateBuilder:
    """What all certificates have in common.

    Not dated back: clients renew at half of what a certificate spans.
    """
    begin = moment(now)
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
        signer.identifier()
    )
    return (
        x509.CertificateBuilder()
        .subject_name(owner.name)
        .issuer_name(signer.name)
        .public_key(owner.key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + life)
        .add_extension(owner.identifier(), critical=False)
        .add_extension(authority, critical=False)
    )


def key_usage(*, sign: bool) -> x509.KeyUsage:
    """Usage of an end's key (sign), or of an authority's."""
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not sign,
        crl_sign=not sign,
        encipher_only=False,
        decipher_only=False,
    )


def authority_name(organization: str, what: str) -> x509.Name:
    """An authority's name; each has its own: chains are put together by names."""
    number = x509.random_serial_number() % 2**32
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Tandem {what} {number:08x}"),
        ]
    )


def general_name(text: str) -> x509.GeneralName:
    """A DNS name, or an IP address."""
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def moment(seconds: float) -> datetime:
    """Unix seconds as certificates have them: whole ones, in the past."""
    return datetime.fromtimestamp(int(seconds), UTC)


def half_life(certificate: x509.Certificate) -> float:
    """The middle of a certificate's time, in Unix seconds."""
    begin = certificate.not_valid_before_utc.timestamp()
    return (begin + certificate.not_valid_after_utc.timestamp()) / 2


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate as text."""
    return certificate.public_bytes(Encoding.PEM)


def pem_of_key(key: Key) -> bytes:
    """A private key as text, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
