"""TLS contexts of a certificate: TLS 1.3, mutual, h2.

A peer's name is in its SAN, not in DNS: that is checked by
``ztunnel_compat.certificates.verify_peer`` once the handshake is done.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass

from ztunnel_compat.certificates import Certificate
from ztunnel_compat.errors import CertificateError


@dataclass(frozen=True, slots=True)
class Contexts:
    """For both ends."""

    client: ssl.SSLContext
    server: ssl.SSLContext


def make_contexts(certificate: Certificate) -> Contexts:
    """Contexts of a certificate; raises CertificateError. Takes a millisecond or two."""
    try:
        return Contexts(
            make_context(ssl.PROTOCOL_TLS_CLIENT, certificate),
            make_context(ssl.PROTOCOL_TLS_SERVER, certificate),
        )
    except (ssl.SSLError, OSError, ValueError) as error:
        raise CertificateError(
            f"the certificate for {certificate.identity} can't be used: {error}"
        ) from error


def make_context(protocol: int, certificate: Certificate) -> ssl.SSLContext:
    """One context; raises SSLError, OSError, ValueError."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        # A resumed session would outlive the roots and certificates it began with.
        context.num_tickets = 0
    context.load_verify_locations(cadata=certificate.roots.decode("ascii"))
    # Python reads keys from files only: one that is in memory, and gone at once.
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(certificate.chain + certificate.secret())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context
