"""An HBONE connection on an asyncio TLS transport, either role."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol, cast

from waypoint.hbone.errors import BrokenError
from ztunnel_compat.errors import CertificateError
from ztunnel_compat.h2.codes import Role
from ztunnel_compat.h2.settings import KIB
from ztunnel_compat.session.session import Session
from ztunnel_compat.session.settings import CLIENT, POOLED, SERVER, Timing
from ztunnel_compat.session.sides import Owner

#: Above this much of a stream's that waits for the far side, who writes is paused; below
#: the other it goes on.
QUEUE_HIGH: Final = 64 * KIB
QUEUE_LOW: Final = 16 * KIB
#: A transport refuses nothing: its writer is told to pause, and what it had in hand comes.
UNBOUNDED: Final = 1 << 40
SETTINGS: Final = {
    role: replace(settings, queue_high=QUEUE_HIGH, queue_low=QUEUE_LOW, queue_bound=UNBOUNDED)
    for role, settings in ((Role.CLIENT, CLIENT), (Role.SERVER, SERVER))
}
#: Bytes that may wait for the TLS transport; above it, streams keep what they have.
WRITE_BUFFER: Final = 256 * KIB
RECEIVE_BUFFER: Final = 256 * KIB


class StreamOwner(Owner, Protocol):
    """Whose stream it is: ``stream.data``."""

    def on_tick(self, now: float) -> None:
        """Some seconds have passed; now: the loop's time."""
        ...


class Leaving(Protocol):
    """Who closed a stream, and waits until what it wrote has left."""

    def flushed(self) -> bool:
        """Whether it has; it isn't asked again then."""
        ...


#: Looks at who is at the other end, before a byte is said; raises CertificateError.
Check = Callable[[asyncio.Transport], None]


class HboneConnection(Session, asyncio.BufferedProtocol):
    """One connection; refusal: what ``check`` said."""

    #: One for all connections of the thread: nothing stays in it between two reads.
    receive_buffer = memoryview(bytearray(RECEIVE_BUFFER))

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def __init__(
        self,
        check: Check,
        role: Role = Role.CLIENT,
        *,
        timing: Timing = POOLED,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop, loop.call_soon, role, SETTINGS[role], timing=timing)
        self.check = check
        self.leaving: set[Leaving] = set()
        self.refusal: CertificateError | None = None

    @property
    def backlog(self) -> int:
        """Bytes of all streams that wait for the socket."""
        return 0 if self.closed else self.transport.get_write_buffer_size()

    @property
    def failure(self) -> BrokenError | None:
        """Why it is gone; None after an orderly end."""
        return BrokenError(self.error) if self.error else None

    def leave(self, owner: Leaving) -> None:
        """Tell an owner when what it wrote has left."""
        if self.closed:
            self.soon(owner.flushed)
        else:
            self.leaving.add(owner)
            self.flush_soon()

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is up."""
        self.transport = cast("asyncio.Transport", transport)
        try:
            self.check(self.transport)
        except CertificateError as refusal:
            self.refusal = refusal
            self.abort(str(refusal))
            return
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self.begin()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport puts what it reads."""
        return self.receive_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Something came."""
        self.received(self.receive_buffer[:nbytes])

    def eof_received(self) -> bool:
        """TLS ended: so does all else."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self.broken(f"the connection broke: {exc}" if exc else "the connection was closed")

    def flush(self) -> None:
        """Write what there is, and tell those who wait for that."""
        super().flush()
        if self.leaving:
            self.leaving.difference_update([o for o in list(self.leaving) if o.flushed()])

    def tick(self) -> None:
        """Tell streams that time passes, too."""
        now = self.loop.time()
        for stream in list(self.http.streams.values()):
            owner: StreamOwner | None = stream.data
            if owner is not None:
                owner.on_tick(now)
        super().tick()

    def lost(self) -> None:
        """Tell everybody, once."""
        super().lost()
        leaving, self.leaving = self.leaving, set()
        for owner in leaving:
            owner.flushed()
