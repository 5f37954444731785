"""Envoy as HBONE's client: what it takes in plainly, it asks for by CONNECT over mTLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.daemon.tunnel.envoy import listens
from tests.daemon.tunnel.pki import mesh_authority
from tests.waypoint.hbone.rig import CLIENT, GATE
from tests.waypoint.mesh import until

CONFIG = """
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: %PORT%}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: waypoint
          tunneling_config: {hostname: "%AUTHORITY%"}
  clusters:
  - name: waypoint
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {allow_connect: true}}
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/%TLS%.v3.UpstreamTlsContext
        common_tls_context:
          alpn_protocols: [h2]
          tls_params:
            tls_minimum_protocol_version: TLSv1_3
            tls_maximum_protocol_version: TLSv1_3
          tls_certificates:
          - certificate_chain: {filename: "%FOLDER%/client.pem"}
            private_key: {filename: "%FOLDER%/client.pem"}
          validation_context:
            trusted_ca: {filename: "%FOLDER%/roots.pem"}
            match_typed_subject_alt_names:
            - {san_type: URI, matcher: {exact: "%SERVER%"}}
    load_assignment:
      cluster_name: waypoint
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %GATE%}}}
"""


@contextlib.asynccontextmanager
async def envoy_client(folder: Path, gate: int, authority: str) -> AsyncIterator[int]:
    """Envoy's port; gate: the waypoint's."""
    trusted = mesh_authority()
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    (folder / "client.pem").write_bytes(trusted.issue(CLIENT))
    (folder / "roots.pem").write_text(trusted.pem)
    values = {
        "PORT": str(port),
        "AUTHORITY": authority,
        "FOLDER": str(folder),
        "SERVER": str(GATE),
        "GATE": str(gate),
        "TLS": "envoy.extensions.transport_sockets.tls",
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
