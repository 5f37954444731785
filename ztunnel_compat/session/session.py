"""What an HBONE connection is to both ends of it, without I/O: HTTP/2, and its life.

Whose it is has the bytes carried: by a socket of its own (``daemon/tunnel``) or by an
event loop's transport (``waypoint/hbone``). What was said in one turn of the event loop
leaves in one write: TLS costs by the turn, not by the byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ztunnel_compat.h2.codes import ErrorCode, Role
from ztunnel_compat.h2.connection import Connection
from ztunnel_compat.h2.errors import ConnectionFault
from ztunnel_compat.h2.sender import BURST
from ztunnel_compat.h2.settings import Settings
from ztunnel_compat.h2.streams import Stream
from ztunnel_compat.hbone import Headers, response_headers
from ztunnel_compat.session.settings import CLIENT_STREAMS, POOLED, Timing
from ztunnel_compat.session.sides import Carrier, Clock, Owner, Timer

PING: Final = b"tandem\0\0"


def nobody() -> None:
    """Nobody is to be told."""


class Session:
    """One connection, of a client's or a server's.

    soon: calls at the end of this turn. ended: called once when it is gone, after its
    streams' owners were told. error: why it is gone; empty while it lives and after an
    orderly end. heard: when something came last, 0 if nothing ever did.
    """

    transport: Carrier

    def __init__(
        self,
        loop: Clock,
        soon: Callable[[Callable[[], object]], object],
        role: Role,
        settings: Settings,
        *,
        timing: Timing = POOLED,
    ) -> None:
        self.loop = loop
        self.soon = soon
        self.role = role
        self.timing = timing
        self.ended: Callable[[], None] = nobody
        self.http = Connection(role, self, settings)
        #: The other end doesn't keep up.
        self.paused = False
        self.closed = False
        #: To be closed once its last stream is done.
        self.closing = False
        self.flushing = False
        self.error = ""
        #: Large flows that it carries.
        self.heavy = 0
        self.heard = 0.0
        #: When the PING left that isn't answered yet.
        self.asked: float | None = None
        self.idle_since = 0.0
        self.timer: Timer | None = None

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

    def turn_down(self, stream: Stream, status: int) -> None:
        """Answer a request that comes to nothing, and want no more of it."""
        if not self.closed:
            self.respond(stream, response_headers(status), end=True)
            if not stream.remote_closed:
                # RFC 9113 section 8.1: after a whole answer, that is no error.
                self.reset(stream, ErrorCode.NO_ERROR)

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
            if self.role is Role.SERVER:
                self.http.goaway()
            self.flush_soon()

    def abort(self, why: str) -> None:
        """Break the connection off, with all its streams."""
        if not self.closed:
            self.error = self.error or why
            self.transport.abort()
            self.lost()

    # The side of who carries it.

    def begin(self) -> None:
        """TLS is up, and the other end is who it should be."""
        self.idle_since = self.loop.time()
        self.http.start()
        self.flush_soon()
        self.timer = self.loop.call_later(self.timing.ping_every, self.tick)

    def received(self, data: memoryview) -> None:
        """Something came."""
        if self.closed:
            return
        self.heard = self.loop.time()
        self.http.receive(data)
        self.flush_soon()

    def broken(self, why: str) -> None:
        """What carries it is gone; why: unless something else ended it."""
        if not self.error:
            self.error = why
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
            self.soon(self.flush)

    def flush(self) -> None:
        """Write what there is, and close once nothing is left to be said."""
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
        # Who is told mostly holds the connection: neither may keep the other.
        ended, self.ended = self.ended, nobody
        ended()

    # HTTP/2's side, from within received().

    def on_request(self, stream: Stream, headers: Headers, end: bool) -> None:
        """A client asks: a server's own class takes it, and sets ``stream.data`` unless it
        answers at once. Clients get none.
        """

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
