"""Makes an HBONE connection: TCP from within a pod's namespace, TLS, whose it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from bpf.errors import BpfError
from daemon.tunnel.connection import TunnelConnection, describe
from daemon.tunnel.errors import ResponseFlag, TunnelError
from daemon.tunnel.pool import PoolKey
from daemon.tunnel.secured import Secured
from daemon.tunnel.sockets import PodSockets
from ztunnel_compat.certificates import verify_peer
from ztunnel_compat.credentials.credentials import Credentials
from ztunnel_compat.errors import CertificateError
from ztunnel_compat.session.settings import POOLED, Timing

logger = logging.getLogger(__name__)

#: ztunnel's: seconds for TCP and TLS together.
CONNECT_TIMEOUT: Final = 10.0
ALPN: Final = "h2"


class Dialer:
    """Makes connections for the pool. netns_of: a pod's cookie → its namespace's fd."""

    def __init__(
        self,
        sockets: PodSockets,
        credentials: Credentials,
        netns_of: Callable[[int], int | None],
        *,
        timeout: float = CONNECT_TIMEOUT,
        timing: Timing = POOLED,
    ) -> None:
        self.sockets = sockets
        self.credentials = credentials
        self.netns_of = netns_of
        self.timeout = timeout
        self.timing = timing

    async def connect(self, key: PoolKey) -> TunnelConnection:
        """A connection whose server is one of the key's identities; raises TunnelError."""
        try:
            async with asyncio.timeout(self.timeout):
                return await self.reach(key)
        except TimeoutError:
            raise TunnelError(
                ResponseFlag.CONNECT,
                f"connection timed out, maybe a firewall or NetworkPolicy blocks port "
                f"{key.port}: {place(key)}",
            ) from None

    async def reach(self, key: PoolKey) -> TunnelConnection:
        """``connect`` without an end."""
        netns_fd = self.netns_of(key.pod)
        if netns_fd is None:
            raise TunnelError(ResponseFlag.CONNECT, "the pod has left")
        try:
            context = await self.credentials.client_context(key.source)
        except CertificateError as error:
            raise TunnelError(ResponseFlag.IDENTITY_ERROR, str(error)) from error
        try:
            connected = await self.sockets.connect(netns_fd, key.address, key.port)
        except (OSError, BpfError) as error:
            raise TunnelError(
                ResponseFlag.CONNECT, f"connection to {place(key)} failed: {error}"
            ) from error
        poller = self.sockets.poller
        made = TunnelConnection(poller, check=lambda s: check(s, key), timing=self.timing)
        try:
            await Secured(poller, connected, context, made, key.server_name).shake()
        except OSError as error:
            raise TunnelError(
                ResponseFlag.TLS_FAILURE, f"{place(key)}: {describe(error)}"
            ) from error
        if made.refusal is not None:
            raise made.refusal
        return made


def check(secured: Secured, key: PoolKey) -> None:
    """Raise TunnelError unless the server is who it should be, and speaks HTTP/2."""
    tls = secured.tls
    certificate = tls.getpeercert(binary_form=True)
    domains = {identity.trust_domain for identity in key.identities}
    try:
        verify_peer(certificate, domains, key.identities)
    except CertificateError as error:
        raise TunnelError(ResponseFlag.TLS_FAILURE, f"{place(key)}: {error}") from error
    # ztunnel tolerates a server that says nothing.
    if tls.selected_alpn_protocol() not in (ALPN, None):
        raise TunnelError(ResponseFlag.H2_HANDSHAKE_FAILURE, f"{place(key)} speaks no HTTP/2")


def place(key: PoolKey) -> str:
    """Where a connection leads."""
    return f"[{key.address}]:{key.port}" if ":" in key.address else f"{key.address}:{key.port}"
