"""Certificates as a CA gives them, without one, and what two ends make of them."""

from __future__ import annotations

import asyncio
import ssl
import time
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from deploy.standalone.control.ca.certificates import Issuer, make_issuer, make_leaf, pem
from ztunnel_compat.certificates import Certificate, Span, certificate_of
from ztunnel_compat.csr import make_key
from ztunnel_compat.identity import Identity

WEB = Identity("cluster.local", "apps", "web")
CLIENT = Identity("cluster.local", "apps", "client")


def new_issuer() -> Issuer:
    return make_issuer("cluster.local", time.time())


def issue(
    issuer: Issuer,
    identity: Identity = WEB,
    *,
    now: float | None = None,
    seconds: int = 3600,
    roots: tuple[Issuer, ...] = (),
) -> Certificate:
    """A certificate; roots: whose roots are trusted, by default the issuer's."""
    key = make_key()
    begins = time.time() if now is None else now
    leaf = make_leaf(issuer, identity, key.public_key(), begins, seconds)
    trusted = "".join(pem(one.root).decode() for one in roots or (issuer,))
    chain = [pem(leaf).decode(), pem(issuer.intermediate).decode(), trusted]
    return certificate_of(chain, identity, key, begins)


def self_signed(identity: Identity, trusted: Issuer) -> Certificate:
    """What somebody makes who has no CA, and knows ours."""
    key, begin = make_key(), datetime.now(UTC) - timedelta(minutes=1)
    name = x509.Name([])
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
    leaf = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=1))
        .add_extension(names, critical=True)
        .sign(key, hashes.SHA256())
    )
    spans = (Span.of(leaf),)
    return Certificate(
        identity, leaf.public_bytes(Encoding.PEM), pem(trusted.root), spans, (), key
    )


async def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[bytes, bytes]:
    """What each end is shown: the server's certificate, the client's; SSLError, OSError."""
    shown: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls = writer.get_extra_info("ssl_object")
        assert tls.version() == "TLSv1.3"
        assert tls.selected_alpn_protocol() == "h2"
        shown.set_result(tls.getpeercert(True))
        writer.write(b"hello")
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        try:
            tls = writer.get_extra_info("ssl_object")
            # TLS 1.3: whether the server takes the client shows only now.
            assert await reader.readexactly(5) == b"hello"
            return tls.getpeercert(True), await shown
        finally:
            writer.close()
