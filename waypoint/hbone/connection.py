"""An HBONE connection: HTTP/2 on a TLS transport, either role.

What was said in one turn of the event loop leaves in one write: TLS costs by the turn,
not by the byte.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from ztunnel_compat.errors import CertificateError
from ztunnel_compat.h2.codes import ErrorCode, Role
from ztunnel_compat.h2.connection import Connection
from ztunnel_compat.h2.errors import ConnectionFault
from ztunnel_compat.h2.sender import BURST
from ztunnel_compat.h2.settings import KIB, Settings
from ztunnel_compat.h2.streams import Stream
from ztunnel_compat.hbone import Headers

logger = logging.getLogger(__name__)

#: Streams on a connection: what ztunnel's pool opens, and what its server takes.
CLIENT_STREAMS: Final = 100
SERVER_STREAMS: Final = 200
#: The far side may send so much on a stream before anybody here has taken any of it. All
#: streams may hold as much at once: slow readers must not stall the others.
STREAM_WINDOW: Final = 256 * KIB
#: Above this much of a stream's that waits for the far side, who writes is paused; below
#: the other it goes on.
QUEUE_HIGH: Final = 64 * KIB
QUEUE_LOW: Final = 16 * KIB
#: A transport refuses nothing: its writer is told to pause, and what it had in hand comes.
UNBOUNDED: Final = 1 << 40
CLIENT: Final = Settings(
    stream_window=STREAM_WINDOW,
    held_limit=CLIENT_STREAMS * STREAM_WINDOW,
    queue_high=QUEUE_HIGH,
    queue_low=QUEUE_LOW,
    queue_bound=UNBOUNDED,
)
SERVER: Final = Settings(
    stream_window=STREAM_WINDOW,
    held_limit=SERVER_STREAMS * STREAM_WINDOW,
    max_streams=SERVER_STREAMS,
    header_list_limit=64 * KIB,
    queue_high=QUEUE_HIGH,
    queue_low=QUEUE_LOW,
    queue_bound=UNBOUNDED,
)
#: Bytes that may wait for the TLS transport; above it, streams keep what they have.
WRITE_BUFFER: Final = 256 * KIB
RECEIVE_BUFFER: Final = 256 * KIB
PING: Final = b"waypoint"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. idle: without a stream, before a connection is closed; None: never."""

    ping_every: float = 10.0
    ping_timeout: float = 20.0
    idle: float | None = None


#: A client's connection; a server leaves it to its clients (ztunnel).
POOLED: Final = Timing(idle=300.0)
SERVED: Final = Timing()


class Owner(Protocol):
    """Whose stream it is: ``stream.data``. Called from within a read of the transport."""

    def on_response(self, headers: Headers, end: bool) -> None:
        """The server answered; end: and has nothing more to say."""
        ...

    def on_data(self, data: bytes | memoryview, end: bool) -> None:
        """Bytes, valid during the call only; ``consumed`` has to be told when they leave."""
        ...

    def on_reset(self, code: int, why: str) -> None:
        """The stream is gone: reset by the far side, or with its connection."""
        ...

    def on_writable(self) -> None:
        """There is room again for what the stream has to send."""
        ...

    def on_tick(self, now: float) -> None:
        """Some seconds have passed; now: the loop's time."""
        ...


class Leaving(Protocol):
    """Who closed a stream, and waits until what it wrote has left."""

    def flushed(self) -> bool:
        """Whether it has; it isn't asked again then."""
        ...


#: A server's: takes a request; must set ``stream.data`` unless it answers at once.
Accept = Callable[["HboneConnection", Stream, Headers, bool], None]
#: Looks at who is at the other end, before a byte is said; raises CertificateError.
Check = Callable[[asyncio.Transport], None]


class HboneConnection(asyncio.BufferedProtocol):
    """One connection; accept: a server's, None makes it a client.

    ended: called once when it is gone, after its streams' owners were told. error: why
    it is gone, or empty; refusal: what ``check`` said. heard: something came on it.
    """

    #: One for all connections of the thread: nothing stays in it between two reads.
    receive_buffer = memoryview(bytearray(RECEIVE_BUFFER))

    transport: asyncio.Transport

    def __init__(
        self,
        check: Check,
        accept: Accept | None = None,
        *,
        timing: Timing = POOLED,
        ended: Callable[[HboneConnection], None] = lambda _: None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.check = check
        self.accept = accept
        self.timing = timing
        self.ended = ended
        self.http = (
            Connection(Role.CLIENT, self, CLIENT)
            if accept is None
            else Connection(Role.SERVER, self, SERVER)
        )
        #: The other end doesn't keep up.
        self.paused = False
        self.leaving: set[Leaving] = set()
        self.closed = False
        #: To be closed once its last stream is done.
        self.closing = False
        self.flushing = False
        self.error = ""
        self.refusal: CertificateError | None = None
        #: When something came last, 0 if nothing ever did; and when the PING left that
        #: isn't answered yet.
        self.heard = 0.0
        self.asked: float | None = None
        self.idle_since = 0.0
        self.timer: asyncio.TimerHandle | None = None

    # The owners' side.

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it: it is gone, or about to be."""
        return self.closed or self.http.closed

    @property
    def usable(self) -> bool:
        """Whether a client may open another stream right now."""
        return (
            not self.closed
            and not self.closing
            and self.http.can_open
            and self.http.open_streams < CLIENT_STREAMS
        )

    @property
    def backlog(self) -> int:
        """Bytes of all streams that wait for the socket."""
        return 0 if self.closed else self.transport.get_write_buffer_size()

    def request(self, headers: Headers, owner: Owner) -> Stream:
        """Open a stream; raises StreamLimitError when ``usable`` doesn't hold."""
        stream = self.http.request(headers)
        stream.data = owner
        self.flush_soon()
        return stream

    def respond(self, stream: Stream, headers: Headers, *, end: bool = False) -> None:
        """Answer a request."""
        if not self.closed:
            self.http.respond(stream, headers, end=end)
            self.flush_soon()

    def send_data(self, stream: Stream, data: bytes, *, end: bool = False) -> int:
        """Send bytes; how many of the stream's wait for the far side to take them."""
        queued = self.http.send_data(stream, data, end=end)
        self.flush_soon()
        return queued

    def consumed(self, stream: Stream, count: int) -> None:
        """So many bytes of the stream were passed on: the far side may send as many more."""
        self.http.consumed(stream, count)
        self.flush_soon()

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """Break a stream off; its owner isn't told."""
        stream.data = None
        if not self.closed:
            self.http.reset(stream, code)
            self.flush_soon()

    def leave(self, owner: Leaving) -> None:
        """Tell an owner when what it wrote has left."""
        if self.closed:
            self.loop.call_soon(owner.flushed)
        else:
            self.leaving.add(owner)
            self.flush_soon()

    def drain(self) -> None:
        """Take no more streams, and close when the last one is done."""
        if not self.closing and not self.closed:
            self.closing = True
            if self.accept is not None:
                self.http.goaway()
            self.flush_soon()

    def abort(self, why: str) -> None:
        """Break the connection off, with all its streams."""
        if not self.closed:
            self.error = self.error or why
            self.transport.abort()
            self.lost()

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
        self.idle_since = self.loop.time()
        self.http.start()
        self.flush_soon()
        self.timer = self.loop.call_later(self.timing.ping_every, self.tick)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport puts what it reads."""
        return self.receive_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Something came."""
        if self.closed:
            return
        self.heard = self.loop.time()
        self.http.receive(self.receive_buffer[:nbytes])
        self.flush_soon()

    def eof_received(self) -> bool:
        """TLS ended: so does all else."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        if not self.error:
            self.error = f"the connection broke: {exc}" if exc else "the connection was closed"
            if not self.heard:
                # In TLS 1.3 a server looks at our certificate after the handshake is
                # complete for us; not every one says why it goes.
                self.error += " before it said anything: it may not trust our certificate"
        self.lost()

    def pause_writing(self) -> None:
        """The other end doesn't keep up."""
        self.paused = True

    def resume_writing(self) -> None:
        """It caught up."""
        self.paused = False
        self.flush_soon()

    def flush_soon(self) -> None:
        """Write what there is at the end of this turn; what finds no room stays put."""
        if not self.flushing and not self.closed and not self.paused:
            self.flushing = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what there is."""
        self.flushing = False
        if self.closed:
            return
        pieces = self.http.take_output()
        if pieces:
            data = b"".join(pieces)
            self.transport.write(data)
            if len(data) >= BURST:
                # There may be more. A turn has its share only: others want theirs.
                self.flush_soon()
        if self.leaving:
            self.leaving.difference_update([o for o in list(self.leaving) if o.flushed()])
        if self.http.open_streams:
            self.idle_since = 0.0
        elif not self.idle_since:
            self.idle_since = self.loop.time()
        self.end_if_done()

    def end_if_done(self) -> None:
        """Close once nothing is left to be said."""
        if self.closing and not self.http.open_streams and not self.http.draining:
            # A client says GOAWAY when it goes: some servers go when they hear it.
            self.http.goaway()
            self.transport.write(b"".join(self.http.take_output()))
        if self.error or (self.closing and self.http.drained):
            self.transport.close()
            self.lost()

    def tick(self) -> None:
        """Ask whether the other end is there; close what nobody uses."""
        now = self.loop.time()
        timing = self.timing
        if self.asked is not None and self.heard < self.asked:
            if now - self.asked >= timing.ping_timeout:
                self.abort(f"no answer to a PING for {now - self.asked:.0f} s")
                return
        else:
            self.asked = now
            self.http.ping(PING)
        for stream in list(self.http.streams.values()):
            if stream.data is not None:
                stream.data.on_tick(now)
        if timing.idle is not None and self.idle_since and now - self.idle_since >= timing.idle:
            self.drain()
        self.flush_soon()
        self.timer = self.loop.call_later(timing.ping_every, self.tick)

    def lost(self) -> None:
        """Tell everybody, once."""
        if self.closed:
            return
        self.closed = True
        if self.timer is not None:
            self.timer.cancel()
        self.http.lost()
        leaving, self.leaving = self.leaving, set()
        for owner in leaving:
            owner.flushed()
        self.ended(self)

    # HTTP/2's side, from within receive().

    def on_request(self, stream: Stream, headers: Headers, end: bool) -> None:
        """A client asks."""
        assert self.accept is not None
        self.accept(self, stream, headers, end)

    def on_response(self, stream: Stream, headers: Headers, end: bool) -> None:
        """A server answers."""
        if stream.data is not None:
            stream.data.on_response(headers, end)

    def on_data(self, stream: Stream, data: bytes | memoryview, end: bool) -> None:
        """Bytes came; those that nobody wants don't hold up the others."""
        if stream.data is not None:
            stream.data.on_data(data, end)
        else:
            self.http.consumed(stream, len(data))

    def on_trailers(self, stream: Stream, headers: Headers) -> None:
        """Trailers end a stream; a tunnel's say nothing else."""
        if stream.data is not None:
            stream.data.on_data(b"", True)

    def on_reset(self, stream: Stream, code: int) -> None:
        """A stream is gone: its owner knows, once."""
        owner: Owner | None = stream.data
        stream.data = None
        if owner is None:
            return
        if self.closed:
            why = self.error or "the connection was closed"
        elif self.http.closed:
            why = f"the other end broke HTTP/2: {code_name(code)}"
        else:
            why = f"the far side reset the stream: {code_name(code)}"
        owner.on_reset(code, why)

    def on_writable(self, stream: Stream) -> None:
        """The far side took some of a stream's bytes."""
        if stream.data is not None:
            stream.data.on_writable()

    def on_goaway(self, last_stream: int, code: int) -> None:
        """The other end takes no more streams; those that it took go on."""
        self.closing = True

    def on_pong(self, payload: bytes) -> None:
        """The other end is there."""
        self.asked = None

    def on_closed(self, error: ConnectionFault | None) -> None:
        """The connection is over; where the other end broke it, a GOAWAY is to be sent."""
        if error is not None:
            self.error = self.error or f"the other end broke HTTP/2: {error}"


def code_name(code: int) -> str:
    """An error code by its name, where it has one."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"code {code}"
