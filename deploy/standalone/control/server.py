"""Port 15012: TLS, ADS and the certificate authority."""

from __future__ import annotations

from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc

from deploy.standalone.control.ads.server import AdsService
from deploy.standalone.control.ca.authority import Authority
from deploy.standalone.control.ca.certificates import ServerCertificate
from deploy.standalone.control.ca.service import CertificateService
from deploy.standalone.control.errors import ConfigError
from proto import ca_pb2_grpc

MAX_STREAMS = 4096
MAX_MESSAGE = 200 << 20
OPTIONS = (
    # Clients ping every few seconds; by default the server ends their stream for it
    # ("too many pings").
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    # Two control planes on one port would each serve some of the clients.
    ("grpc.so_reuseport", 0),
)


class ServerKeys:
    """Gives gRPC the authority's newest server certificate, at each handshake."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.given = authority.server

    def credentials(self) -> Any:
        """The server's credentials: no client certificate is asked for."""
        return grpc.dynamic_ssl_server_credentials(configuration(self.given), self.newer)  # type: ignore[arg-type]

    def newer(self) -> Any | None:
        """The certificate to use from now on; None for the one before.

        Called by gRPC's own thread: it only compares and takes a reference.
        """
        current = self.authority.server
        if current is self.given:
            return None
        self.given = current
        return configuration(current)


def configuration(certificate: ServerCertificate) -> Any:
    """A certificate as gRPC takes it."""
    return grpc.ssl_server_certificate_configuration([(certificate.key, certificate.chain)])


async def serve(
    ads: AdsService, ca: CertificateService, authority: Authority, listen: str
) -> tuple[Any, int]:
    """Start serving at ``address:port``; the server, and the port that it got.

    Raises ConfigError when the address can't be had.
    """
    server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=MAX_STREAMS)
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(ads, server)
    ca_pb2_grpc.add_IstioCertificateServiceServicer_to_server(ca, server)
    try:
        port = server.add_secure_port(listen, ServerKeys(authority).credentials())
    except RuntimeError as error:
        raise ConfigError(
            f"--listen {listen}: can't be listened on; is another control plane running?"
        ) from error
    await server.start()
    return server, port
