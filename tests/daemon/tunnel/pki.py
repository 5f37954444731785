"""Certificates for tests, as a mesh's CA gives them out."""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from ztunnel_compat.errors import CertificateError
from ztunnel_compat.identity import Identity


def who(account: str, namespace: str = "app") -> Identity:
    return Identity("cluster.local", namespace, account)


@dataclass(frozen=True)
class Authority:
    """A certificate authority of a test's own."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def issue(self, identity: Identity | str, days: tuple[float, float] = (-1, 1)) -> bytes:
        """Key and certificate as PEM; days: from when to when it is good, from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))]),
                critical=True,
            )
            .sign(self.key, hashes.SHA256())
        )
        return key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ) + made.public_bytes(Encoding.PEM)


def new_authority(name: str = "mesh") -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
    now = datetime.now(UTC)
    return Authority(
        key,
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256()),
    )


@cache
def mesh_authority() -> Authority:
    """The authority of most tests."""
    return new_authority()


def context(server: bool, roots: Authority, pem: bytes | None) -> ssl.SSLContext:
    """TLS 1.3 and ALPN h2, the peer's certificate required."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(cadata=roots.pem)
    made.set_alpn_protocols(["h2"])
    if pem is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "pem")
            path.write_bytes(pem)
            made.load_cert_chain(path)
    return made


def client_context(identity: Identity, roots: Authority | None = None) -> ssl.SSLContext:
    authority = roots or mesh_authority()
    return context(False, authority, authority.issue(identity))


def server_context(identity: Identity, roots: Authority | None = None) -> ssl.SSLContext:
    authority = roots or mesh_authority()
    return context(True, authority, authority.issue(identity))


class Contexts:
    """Stands for ztunnel_compat/credentials: one context per identity, or a reason why not."""

    def __init__(self) -> None:
        self.made: dict[Identity, ssl.SSLContext] = {}
        self.refuses = ""

    async def client_context(self, identity: Identity) -> ssl.SSLContext:
        if self.refuses:
            raise CertificateError(self.refuses)
        if identity not in self.made:
            self.made[identity] = client_context(identity)
        return self.made[identity]

    async def server_context(self, identity: Identity) -> ssl.SSLContext:
        if self.refuses:
            raise CertificateError(self.refuses)
        return server_context(identity)

    def hold(self, identity: Identity) -> None:
        pass

    def drop(self, identity: Identity) -> None:
        pass
