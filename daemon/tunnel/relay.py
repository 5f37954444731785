"""An application's plain connection, joined to a stream.

Ends are carried as ends and breaks as breaks, in both directions: FIN is END_STREAM
on an empty DATA frame, RST is RST_STREAM with CONNECT_ERROR (RFC 9113 section 8.5;
ztunnel takes CANCEL for an end). The socket is read and written here, without a
transport between: a byte counts as delivered when the kernel has it, and only then
may the far side send another.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Final

from daemon.tunnel.connection import QUEUE_HIGH, TunnelConnection
from daemon.tunnel.poller import END, IN, OUT
from daemon.tunnel.sockets import reset
from ztunnel_compat.h2.codes import ErrorCode
from ztunnel_compat.h2.streams import Stream
from ztunnel_compat.hbone import Headers

#: Bytes read at a time: of a flow, and of a large one, whose turns cost more than what
#: it takes from others by them.
READ: Final = 32 * 1024
READ_LARGE: Final = 128 * 1024
#: Bytes of one direction from which a flow is one of the large: others keep away
#: from its connection.
LARGE: Final = 4 * 1024 * 1024


class Relay:
    """The owner of a stream. What comes before the application is joined waits here.

    answered: gets the response's headers, of a client's stream; ended: called once,
    when both directions are done or broken. sent: bytes of the application's, received:
    bytes for it that the kernel took. error: what broke it, or empty; code: of the
    reset that did.
    """

    __slots__ = (
        "answered", "application", "code", "connection", "descriptor", "ended", "error",
        "far_ended", "large", "over", "pending", "poller", "read_ended", "reading",
        "received", "sent", "stream", "watched", "writing",
    )  # fmt: skip

    stream: Stream

    def __init__(
        self,
        connection: TunnelConnection,
        *,
        ended: Callable[[Relay], None],
        answered: Callable[[Headers, bool], None] | None = None,
    ) -> None:
        self.poller = connection.poller
        self.connection = connection
        self.answered = answered
        self.ended = ended
        self.application: socket.socket | None = None
        self.descriptor = -1
        #: What the application's socket had no room for.
        self.pending: deque[bytes | memoryview] = deque()
        self.sent = self.received = 0
        self.reading = self.writing = False
        #: What the poller watches for; nothing: it doesn't watch.
        self.watched = 0
        #: The application has said all; the far side has.
        self.read_ended = self.far_ended = False
        self.over = False
        self.large = False
        self.error = ""
        self.code = 0

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes from the application, and to it."""
        return self.sent, self.received

    def join(self, application: socket.socket) -> None:
        """Begin to relay; application: non-blocking, this one's from now on."""
        self.application = application
        self.descriptor = application.fileno()
        if self.pending or self.far_ended:
            self.write_pending()
        if not self.over:
            self.read_on()

    def break_off(self, error: str, code: ErrorCode = ErrorCode.CONNECT_ERROR) -> None:
        """Reset both sides."""
        if not self.over:
            self.connection.reset(self.stream, code)
            self.fail(error)

    # From the application to the far side.

    def read_now(self) -> None:
        """Take what may be there already: clients mostly speak first."""
        if self.reading:
            self.readable()

    def read_on(self) -> None:
        """Read, if what was read before has room to leave."""
        if self.over or self.read_ended or self.reading or self.application is None:
            return
        if self.connection.paused:
            self.connection.blocked.add(self)
        elif self.stream.queued <= QUEUE_HIGH:
            self.reading = True
            self.watch()

    def stop_reading(self) -> None:
        """Leave what comes to the kernel."""
        if self.reading:
            self.reading = False
            self.watch()

    def watch(self) -> None:
        """Have the poller watch for what is wanted.

        Where that is nothing, not for errors either: it would tell of one again and
        again, and they are found when the socket is used.
        """
        wanted = (IN if self.reading else 0) | (OUT if self.writing else 0)
        watched, self.watched = self.watched, wanted
        if wanted == watched:
            return
        if not watched:
            self.poller.watch(self.descriptor, wanted, self)
        elif wanted:
            self.poller.change(self.descriptor, wanted)
        else:
            self.poller.leave(self.descriptor)

    def ready(self, events: int) -> None:
        """The application's socket may be read, or written, or has an error."""
        if self.writing and events & ~IN:
            self.write_pending()
        # Last words and the end that follows them leave together.
        if self.reading and events & ~OUT and self.readable() and events & END and self.reading:
            self.readable()

    def readable(self) -> bool:
        """Take bytes, or the end; whether there was something."""
        assert self.application is not None
        try:
            data = self.application.recv(READ_LARGE if self.large else READ)
        except BlockingIOError:
            return False
        except OSError as error:
            self.break_off(f"the application's connection broke: {error.strerror}")
            return False
        if data:
            self.sent += len(data)
            if not self.large and self.sent > LARGE:
                self.grow()
            queued = self.connection.send_data(self.stream, data)
            if queued > QUEUE_HIGH:
                self.stop_reading()
            elif self.connection.paused:
                self.stop_reading()
                self.connection.blocked.add(self)
            return True
        self.read_ended = True
        self.stop_reading()
        self.connection.send_data(self.stream, b"", end=True)
        self.finish_if_done()
        return True

    # From the far side to the application.

    def on_response(self, headers: Headers, end: bool) -> None:
        """The server's answer."""
        if self.answered is not None:
            self.answered(headers, end)
        if end and not self.over:
            self.on_data(b"", True)

    def on_data(self, data: bytes | memoryview, end: bool) -> None:
        """Pass bytes on; what finds no room waits, within the stream's window."""
        if data:
            taken = 0 if self.pending or self.application is None else self.write(data)
            if self.over:
                return
            if taken < len(data):
                self.pending.append(bytes(data[taken:]))
                self.write_later()
        if end:
            self.far_ended = True
            if not self.pending and self.application is not None:
                self.end_writing()

    def write(self, data: bytes | memoryview) -> int:
        """Give bytes to the kernel; how many it took."""
        assert self.application is not None
        try:
            taken = self.application.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self.break_off(f"the application's connection broke: {error.strerror}")
            return 0
        self.received += taken
        if not self.large and self.received > LARGE:
            self.grow()
        self.connection.consumed(self.stream, taken)
        return taken

    def write_later(self) -> None:
        """Go on when there is room."""
        if not self.writing and self.application is not None:
            self.writing = True
            self.watch()

    def write_pending(self) -> None:
        """There is room: pass on what waited."""
        while self.pending:
            data = self.pending[0]
            taken = self.write(data)
            if self.over:
                return
            if taken < len(data):
                self.pending[0] = memoryview(data)[taken:]
                self.write_later()
                return
            self.pending.popleft()
        self.stop_writing()
        if self.far_ended:
            self.end_writing()

    def stop_writing(self) -> None:
        """Nothing waits for room."""
        if self.writing:
            self.writing = False
            self.watch()

    def end_writing(self) -> None:
        """The far side has said all: so the application sees an end."""
        assert self.application is not None
        if self.read_ended:  # then closing it says so
            self.finish_if_done()
            return
        try:
            self.application.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.break_off(f"the application's connection broke: {error.strerror}")
            return

    def on_writable(self) -> None:
        """What was read has left, or the other node keeps up again."""
        self.read_on()

    def grow(self) -> None:
        """It is a large flow by now."""
        self.large = True
        self.connection.heavy += 1

    # Ends.

    def on_reset(self, code: int, why: str) -> None:
        """The stream is gone: an end if it was complete, else a break."""
        if self.over:
            return
        if code == ErrorCode.NO_ERROR and self.far_ended:
            # RFC 9113 section 8.1: all was said, and the rest isn't wanted.
            self.read_ended = True
            self.stop_reading()
            self.finish_if_done()
        else:
            self.code = code
            self.fail(why)

    def finish_if_done(self) -> None:
        """Both directions have ended in order."""
        if self.read_ended and self.far_ended and not self.pending:
            self.close()

    def fail(self, error: str) -> None:
        """The application sees a break."""
        self.error = error
        self.close(broken=True)

    def close(self, *, broken: bool = False) -> None:
        """Let the application's connection go, and say so, once."""
        if self.over:
            return
        self.over = True
        self.reading = self.writing = False
        self.watch()
        self.connection.blocked.discard(self)
        self.pending.clear()
        self.connection.heavy -= self.large
        if self.application is not None:
            if broken:
                reset(self.application)
            else:
                self.application.close()
        # Nothing holds on to itself: no garbage is left to be found.
        ended, self.ended, self.answered = self.ended, forget, None
        self.stream.data = None
        ended(self)


def forget(_: Relay) -> None:
    """Nobody is to be told any more."""
