"""An HBONE connection: HTTP/2 on TLS, either role.

What was said in one turn of the event loop leaves in one write: TLS costs by the
turn, not by the byte. While the other node doesn't keep up, nobody is read from.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from daemon.tunnel.errors import ResponseFlag, TunnelError
from daemon.tunnel.poller import Poller
from daemon.tunnel.secured import Secured
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
#: The far side may send so much before the application here has taken any of it. All
#: streams may hold as much at once: slow readers must not stall the others.
STREAM_WINDOW: Final = 256 * KIB
CLIENT: Final = Settings(stream_window=STREAM_WINDOW, held_limit=CLIENT_STREAMS * STREAM_WINDOW)
SERVER: Final = Settings(
    stream_window=STREAM_WINDOW,
    held_limit=SERVER_STREAMS * STREAM_WINDOW,
    max_streams=SERVER_STREAMS,
    header_list_limit=64 * KIB,
)
#: What may wait for the far side, before a source isn't read any more; with one more
#: read it stays below the stream's bound, 256 KiB.
QUEUE_HIGH: Final = CLIENT.queue_high


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. idle: without a stream, before a connection is closed; None: never."""

    ping_every: float = 10.0
    ping_timeout: float = 20.0
    idle: float | None = None


#: A pooled connection of a client; a server leaves it to its clients (ztunnel).
POOLED: Final = Timing(idle=300.0)


class Owner(Protocol):
    """Whose stream it is: ``stream.data``. Called from within a read of the transport."""

    def on_response(self, headers: Headers, end: bool) -> None:
        """The server answered; end: and has nothing more to say."""
        ...

    def on_data(self, data: bytes | memoryview, end: bool) -> None:
        """Bytes, valid during the call only; ``consumed`` has to be told when they leave."""
        ...

    def on_reset(self, code: int, why: str) -> None:
        """The stream is gone: reset by either side, or with its connection."""
        ...

    def on_writable(self) -> None:
        """There is room again for what the stream has to send."""
        ...


#: A server's: takes a request; must set ``stream.data`` unless it answers at once.
Accept = Callable[["TunnelConnection", Stream, Headers, bool], None]
#: Looks at who is at the other end, before a byte is said; raises TunnelError.
Check = Callable[[Secured], None]


class TunnelConnection:
    """One connection; accept: a server's, None makes it a client.

    ended: called once when it is gone, after its streams' owners were told.
    error: why it is gone, or None while it lives and after an orderly end; flag: the
    same for metrics. refusal: what ``check`` said. heavy: large flows that it carries.
    """

    transport: Secured

    def __init__(
        self,
        poller: Poller,
        accept: Accept | None = None,
        *,
        check: Check | None = None,
        timing: Timing = POOLED,
        ended: Callable[[TunnelConnection], None] = lambda _: None,
    ) -> None:
        self.poller = poller
        self.loop = poller.loop
        self.accept = accept
        self.check = check
        self.timing = timing
        self.ended = ended
        self.http = (
            Connection(Role.CLIENT, self, CLIENT)
            if accept is None
            else Connection(Role.SERVER, self, SERVER)
        )
        #: The other node doesn't keep up.
        self.paused = False
        #: Owners to tell when it does.
        self.blocked: set[Owner] = set()
        self.closed = False
        #: To be closed once its last stream is done.
        self.closing = False
        self.flushing = False
        self.error: str | None = None
        self.flag = ResponseFlag.TLS_FAILURE
        self.refusal: TunnelError | None = None
        self.heavy = 0
        #: When something came last, 0 if nothing ever did; and when the PING left that
        #: isn't answered yet.
        self.heard = 0.0
        self.asked: float | None = None
        self.idle_since = 0.0
        self.timer: asyncio.TimerHandle | None = None

    # The owners' side.

    @property
    def open_streams(self) -> int:
        """Streams that aren't done."""
        return self.http.open_streams

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

    def request(self, headers: Headers, owner: Owner) -> Stream:
        """Open a stream; raises StreamLimitError when ``usable`` doesn't hold."""
        stream = self.http.request(headers)
        stream.data = owner
        self.flush_soon()
        return stream

    def respond(self, stream: Stream, headers: Headers, *, end: bool = False) -> None:
        """Answer a request."""
        self.http.respond(stream, headers, end=end)
        self.flush_soon()

    def send_data(self, stream: Stream, data: bytes, *, end: bool = False) -> int:
        """Send bytes; how many of the stream's wait for the far side to take them."""
        queued = self.http.send_data(stream, data, end=end)
        self.flush_soon()
        return queued

    def consumed(self, stream: Stream, count: int) -> None:
        """So many bytes of the stream have left: the far side may send as many more."""
        self.http.consumed(stream, count)
        self.flush_soon()

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """Break a stream off; its owner isn't told."""
        stream.data = None
        if not self.closed:
            self.http.reset(stream, code)
            self.flush_soon()

    def drain(self) -> None:
        """Take no more streams, and close when the last one is done.

        A server takes those that are under way. A client has nothing to announce: it
        says GOAWAY when it goes, since some servers go when they hear it.
        """
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

    # TLS's side.

    def connection_made(self, secured: Secured) -> None:
        """TLS is up."""
        self.transport = secured
        if self.check is not None:
            try:
                self.check(self.transport)
            except TunnelError as refusal:
                self.refusal = refusal
                self.abort(str(refusal))
                return
        self.idle_since = self.loop.time()
        self.http.start()
        self.flush_soon()
        self.timer = self.loop.call_later(self.timing.ping_every, self.tick)

    def received(self, data: memoryview) -> None:
        """Something came."""
        if self.closed:
            return
        if not self.heard:
            self.flag = ResponseFlag.H2_HANDSHAKE_FAILURE
        self.heard = self.loop.time()
        self.http.receive(data)
        if self.flag is ResponseFlag.H2_HANDSHAKE_FAILURE and not self.http.closed:
            self.flag = ResponseFlag.CONNECT
        self.flush_soon()

    def connection_lost(self, error: Exception | None) -> None:
        """TLS is gone."""
        if self.error is None:
            self.error = describe(error)
            if not self.heard:
                # In TLS 1.3 a server looks at our certificate after the handshake is
                # complete for us; not every one says why it goes.
                self.error += " before it said anything: it may not trust our certificate"
        self.lost()

    def pause_writing(self) -> None:
        """The other node doesn't keep up."""
        self.paused = True

    def resume_writing(self) -> None:
        """It caught up: sources may be read again."""
        self.paused = False
        self.flush_soon()
        blocked, self.blocked = self.blocked, set()
        for owner in blocked:
            owner.on_writable()

    def flush_soon(self) -> None:
        """Write what there is at the end of this turn; what finds no room stays put."""
        if not self.flushing and not self.closed and not self.paused:
            self.flushing = True
            self.poller.at_end(self.flush)

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
        if self.http.open_streams:
            self.idle_since = 0.0
        elif not self.idle_since:
            self.idle_since = self.loop.time()
        if self.closing and not self.http.open_streams and not self.http.draining:
            self.http.goaway()
            self.transport.write(b"".join(self.http.take_output()))
        if self.error is not None or (self.closing and self.http.drained):
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
            self.http.ping(b"tandem\0\0")
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
        self.blocked.clear()
        self.http.lost()
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
            why = self.error or "the connection between the nodes was closed"
        elif self.http.closed:
            why = f"the other node broke HTTP/2: {code_name(code)}"
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
            self.error = self.error or f"the other node broke HTTP/2: {error}"


def describe(error: Exception | None) -> str:
    """What a transport says of its end."""
    if error is None:
        return "the other node closed the connection"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    return f"the connection between the nodes broke: {error}"


def code_name(code: int) -> str:
    """An error code by its name, where it has one."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"code {code}"
