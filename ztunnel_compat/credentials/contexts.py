"""TLS contexts of a certificate: TLS 1.3, mutual, h2.

A peer's name is in its SAN, not in DNS: that is checked by
``ztunnel_compat.certificates.verify_peer`` once the handshake is done.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
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


def choosing_context(choose: Callable[[str | None], ssl.SSLContext | None]) -> ssl.SSLContext:
    """A server's context without a certificate: the client's name for it (SNI) chooses.

    choose: a server's context of ``make_contexts``, with its certificate and its roots, for
    the name that a client says, None where it says none; no context refuses the client.
    """
    context = base_context(ssl.PROTOCOL_TLS_SERVER)

    def named(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        chosen = choose(name)
        if chosen is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = chosen
        return None

    context.sni_callback = named
    return context


def base_context(protocol: int) -> ssl.SSLContext:
    """What all contexts have in common."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        # A resumed session would outlive the roots and certificates it began with.
        context.num_tickets = 0
    return context


def make_context(protocol: int, certificate: Certificate) -> ssl.SSLContext:
    """One context; raises SSLError, OSError, ValueError."""
    context = base_context(protocol)
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
