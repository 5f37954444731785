"""What tunnels need to prove who a pod is."""

from __future__ import annotations

import ssl
from typing import Protocol

from ztunnel_compat.identity import Identity


class Credentials(Protocol):
    """Certificates of our own service accounts."""

    async def client_context(self, identity: Identity) -> ssl.SSLContext:
        """For connections in its name; raises CertificateError when there is none."""
        ...

    async def server_context(self, identity: Identity) -> ssl.SSLContext:
        """For connections to it: the client must show a certificate. CertificateError."""
        ...

    def hold(self, identity: Identity) -> None:
        """A pod of ours has it; each call is matched by a ``drop``."""
        ...

    def drop(self, identity: Identity) -> None:
        """That pod has left."""
        ...
