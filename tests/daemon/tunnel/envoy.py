"""Envoy as HBONE's server: it ends TLS and CONNECT, and connects to an application."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.daemon.tunnel.pki import mesh_authority, who
from tests.daemon.tunnel.rig import until

CONFIG = """
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: %PORT%}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/%TLS%.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            alpn_protocols: [h2]
            tls_params:
              tls_minimum_protocol_version: TLSv1_3
              tls_maximum_protocol_version: TLSv1_3
            tls_certificates:
            - certificate_chain: {filename: "%FOLDER%/server.pem"}
              private_key: {filename: "%FOLDER%/server.pem"}
            validation_context:
              trusted_ca: {filename: "%FOLDER%/roots.pem"}
      filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/%HTTP%.v3.HttpConnectionManager
          stat_prefix: http
          http2_protocol_options: {allow_connect: true}
          upgrade_configs: [{upgrade_type: CONNECT}]
          http_filters:
          - name: router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {connect_matcher: {}}
                route:
                  cluster: application
                  upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]
  clusters:
  - name: application
    connect_timeout: 5s
    load_assignment:
      cluster_name: application
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %APP%}}}
"""


@contextlib.asynccontextmanager
async def envoy_side(folder: Path, application: int) -> AsyncIterator[int]:
    """Envoy's port; application: the port that all tunnels lead to."""
    authority = mesh_authority()
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    (folder / "server.pem").write_bytes(authority.issue(who("server")))
    (folder / "roots.pem").write_text(authority.pem)
    values = {
        "PORT": str(port),
        "APP": str(application),
        "FOLDER": str(folder),
        "TLS": "envoy.extensions.transport_sockets.tls",
        "HTTP": "envoy.extensions.filters.network.http_connection_manager",
    }
    text = CONFIG
    for name, value in values.items():
        text = text.replace(f"%{name}%", value)
    (folder / "envoy.yaml").write_text(text)
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("envoy")),
            *("-c", str(folder / "envoy.yaml"), "--concurrency", "1", "--log-level", "warn"),
            *("--use-dynamic-base-id", "--disable-hot-restart"),
            stdout=log,
            stderr=log,
        )
    try:
        await until(lambda: process.returncode is not None or listens(port), 60)
        assert process.returncode is None, (folder / "envoy.log").read_text()
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
