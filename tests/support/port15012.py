"""What a server on port 15012 and its clients need, made for one test.

::

    port = make_port(tmp_path)
    server.add_secure_port("127.0.0.1:0", port.credentials)
    # the client: XDS_ROOT_CA=port.roots, TOKEN_PATH=port.token
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from deploy.standalone.control.auth.tokens import Claims, Tokens
from deploy.standalone.control.ca.certificates import Issuer, make_issuer, make_server, pem
from deploy.standalone.runner.tokens import write_secret

AGENT = Claims("tandem-system", "ztunnel", "node1", "uid", "node1")


@dataclass(frozen=True)
class Port:
    """roots and token: the client's files; credentials: the server's; issuer: of more."""

    issuer: Issuer
    roots: Path
    token: Path
    tokens: Tokens
    credentials: Any


def make_port(folder: Path, *names: str, claims: Claims = AGENT) -> Port:
    """Make a CA, a server's certificate for some names, and a client's files."""
    now = time.time()
    issuer = make_issuer("cluster.local", now)
    server = make_server(issuer, names or ("127.0.0.1", "::1", "localhost"), now)
    roots = folder / "roots.pem"
    roots.write_bytes(pem(issuer.root))
    tokens = Tokens(issuer.root_key)
    write_secret(folder / "token", tokens.mint(claims).token)
    credentials = grpc.ssl_server_credentials([(server.key, server.chain)])
    return Port(issuer, roots, folder / "token", tokens, credentials)
