"""A certificate authority for tests and benchmarks: one root, leaves as asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
PEM = serialization.Encoding.PEM


class Authority:
    """A self-signed root; ``roots`` is its PEM, ``chain`` what follows its leaves."""

    chain = b""

    def __init__(self, name: str = "root") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(self.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + 365 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.roots = self.certificate.public_bytes(PEM)

    @classmethod
    def of(cls, bundle: Path) -> Authority:
        """An intermediate that exists: its certificate and its key in one file."""
        made = cls()
        made.chain, marker, key = bundle.read_bytes().partition(b"-----BEGIN PRIVATE KEY-----")
        private = serialization.load_pem_private_key(marker + key, None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        made.key = private
        made.certificate = x509.load_pem_x509_certificate(made.chain)
        made.name = made.certificate.subject
        return made

    def issue(
        self, *uris: str, dns: str = "", begin: timedelta = -DAY, end: timedelta = DAY
    ) -> tuple[bytes, bytes]:
        """A leaf for these URIs and a DNS name, valid from and until so far from now.

        The certificate and its key, both PEM.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(dns)] if dns else []
        now = datetime.now(UTC)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        leaf = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begin)
            .not_valid_after(now + end)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        encryption = serialization.NoEncryption()
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, encryption)
        return leaf.public_bytes(PEM), private

    def write(self, folder: Path, name: str, *uris: str) -> None:
        """``NAME.pem`` and ``NAME.key`` of a leaf, which has that DNS name, ``roots.pem``."""
        leaf, key = self.issue(*uris, dns=name)
        (folder / f"{name}.pem").write_bytes(leaf)
        (folder / f"{name}.key").write_bytes(key)
        (folder / "roots.pem").write_bytes(self.roots)
