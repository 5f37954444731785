"""How a process reaches the control plane: TLS, and a token that says who it is.

The files are read anew for each attempt: tokens are renewed, roots are rotated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from cryptography import x509

from ztunnel_compat.errors import LoginError
from ztunnel_compat.runtime.settings import ProxySettings

#: A token and a bundle of roots are a few kilobytes.
MOST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Login:
    """A server of the control plane's.

    target: ``host:port``; roots: PEM file of what its certificate is verified with;
    token: file of the bearer token.
    """

    target: str
    roots: Path
    token: Path
    cluster_id: str = "Kubernetes"

    async def channel(self, options: Sequence[tuple[str, int]]) -> grpc.aio.Channel:
        """A channel over TLS; raises LoginError when the roots can't be had."""
        roots = await asyncio.to_thread(read, self.roots, "roots", "XDS_ROOT_CA or CA_ROOT_CA")
        try:
            # What gRPC can't read it calls a server that doesn't answer.
            x509.load_pem_x509_certificates(roots)
        except ValueError as error:
            raise LoginError(f"roots: {self.roots} holds no certificates in PEM") from error
        credentials = grpc.ssl_channel_credentials(root_certificates=roots)
        return grpc.aio.secure_channel(self.target, credentials, options=list(options))

    async def metadata(self) -> tuple[tuple[str, str], ...]:
        """Who we are, as istiod reads it; raises LoginError when there is no token."""
        raw = await asyncio.to_thread(read, self.token, "token", "TOKEN_PATH")
        try:
            token = raw.decode("ascii").strip()
        except UnicodeDecodeError:
            token = ""
        # Anything else could not be in a header.
        if not token or not all("!" <= character <= "~" for character in token):
            raise LoginError(f"token: {self.token} holds no token")
        return (("authorization", f"Bearer {token}"), ("clusterid", self.cluster_id))


def read(path: Path, what: str, setting: str) -> bytes:
    """A file's content; raises LoginError."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST + 1)
    except OSError as error:
        raise LoginError(
            f"{what}: {path} can't be read: {error.strerror}; {setting} names it"
        ) from error
    if len(content) > MOST:
        raise LoginError(f"{what}: {path} is longer than {MOST} bytes; {setting} names it")
    return content


def xds_login(settings: ProxySettings) -> Login:
    """Where a process's settings say that it gets the mesh's state from."""
    return Login(
        settings.xds_address, settings.xds_root_ca, settings.token_path, settings.cluster_id
    )
