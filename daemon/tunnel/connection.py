"""An HBONE connection between two nodes, on TLS beside a socket of the poller's.

While the other node doesn't keep up, nobody is read from.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from daemon.tunnel.errors import ResponseFlag, TunnelError
from daemon.tunnel.poller import Poller
from daemon.tunnel.secured import Secured
from ztunnel_compat.h2.codes import Role
from ztunnel_compat.session.session import Session
from ztunnel_compat.session.settings import CLIENT, POOLED, SERVER, Timing
from ztunnel_compat.session.sides import Owner

#: What may wait for the far side, before a source isn't read any more; with one more
#: read it stays below the stream's bound, 256 KiB.
QUEUE_HIGH: Final = CLIENT.queue_high

#: Looks at who is at the other end, before a byte is said; raises TunnelError.
Check = Callable[[Secured], None]


class TunnelConnection(Session):
    """One connection.

    refusal: what ``check`` said.
    """

    loop: asyncio.AbstractEventLoop
    transport: Secured

    def __init__(
        self,
        poller: Poller,
        role: Role = Role.CLIENT,
        *,
        check: Check | None = None,
        timing: Timing = POOLED,
    ) -> None:
        settings = CLIENT if role is Role.CLIENT else SERVER
        super().__init__(poller.loop, poller.at_end, role, settings, timing=timing)
        self.poller = poller
        self.check = check
        #: Owners to tell when the other node keeps up again.
        self.blocked: set[Owner] = set()
        self.refusal: TunnelError | None = None

    @property
    def flag(self) -> ResponseFlag:
        """How far it came, for metrics."""
        if not self.heard:
            return ResponseFlag.TLS_FAILURE
        if not self.http.greeted:
            return ResponseFlag.H2_HANDSHAKE_FAILURE
        return ResponseFlag.CONNECT

    @property
    def failure(self) -> TunnelError | None:
        """Why it is gone; None after an orderly end."""
        return TunnelError(self.flag, self.error) if self.error else None

    def connection_made(self, secured: Secured) -> None:
        """TLS is up."""
        self.transport = secured
        if self.check is not None:
            try:
                self.check(secured)
            except TunnelError as refusal:
                self.refusal = refusal
                self.abort(str(refusal))
                return
        self.begin()

    def connection_lost(self, error: Exception | None) -> None:
        """TLS is gone."""
        self.broken(describe(error))

    def resume_writing(self) -> None:
        """The other node caught up: sources may be read again."""
        super().resume_writing()
        blocked, self.blocked = self.blocked, set()
        for owner in blocked:
            owner.on_writable()

    def lost(self) -> None:
        """Tell everybody, once."""
        self.blocked.clear()
        super().lost()


def describe(error: Exception | None) -> str:
    """What a transport says of its end."""
    if error is None:
        return "the other node closed the connection"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    return f"the connection between the nodes broke: {error}"
