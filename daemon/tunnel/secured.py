"""TLS on a socket, for a connection between the nodes.

OpenSSL works on buffers here, and the socket is read and written beside it: 256 KiB
at a time, into buffers that all connections share, and in the turn in which it is
asked for. asyncio's TLS transports take more turns, and more objects, for the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from typing import Final, Protocol, cast

from daemon.tunnel.poller import IN, OUT, Poller

#: Bytes of ciphertext read at a time.
READ: Final = 256 * 1024
#: What a record can hold, and OpenSSL gives at a time.
RECORD: Final = 16 * 1024
#: Bytes that may wait for the kernel before the owner is asked to stop, and at which it
#: may go on.
HIGH: Final = 256 * 1024
LOW: Final = HIGH // 4
#: Seconds that the other end may take to end TLS when we have.
GOODBYE: Final = 1.0


class Owner(Protocol):
    """Whose connection it is."""

    def connection_made(self, secured: Secured) -> None:
        """The handshake is done."""
        ...

    def received(self, data: memoryview) -> None:
        """Bytes, valid during the call only."""
        ...

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, for an error or by an end; not called after ours."""
        ...

    def pause_writing(self) -> None:
        """More than enough waits for the kernel."""
        ...

    def resume_writing(self) -> None:
        """There is room again."""
        ...


class Secured:
    """One connection; its socket: non-blocking, this one's from now on.

    It is the server's end for a context that is a server's. server_name: what a client
    says that it wants; empty for nothing.
    """

    #: One of each for all connections of the thread: nothing stays between two reads.
    ciphertext = memoryview(bytearray(READ))
    plaintext = memoryview(bytearray(READ + RECORD))

    __slots__ = (
        "backlog", "closed", "ending", "error", "incoming", "outgoing", "owner",
        "paused", "poller", "shaken", "socket", "timer", "tls", "waiting", "watched",
    )  # fmt: skip

    def __init__(
        self,
        poller: Poller,
        connection: socket.socket,
        context: ssl.SSLContext,
        owner: Owner,
        server_name: str = "",
    ) -> None:
        self.poller = poller
        self.socket = connection
        self.owner = owner
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=context.protocol is ssl.PROTOCOL_TLS_SERVER,
            server_hostname=server_name or None,
        )
        #: Ciphertext that the kernel had no room for, and how much it is.
        self.backlog: deque[memoryview] = deque()
        self.waiting = 0
        self.watched = IN
        self.paused = False
        #: We have said all, and wait for the other end's goodbye.
        self.ending = False
        self.closed = False
        self.error: OSError | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.shaken: asyncio.Future[None] | None = None

    async def shake(self) -> None:
        """Do the handshake; raises OSError (SSLError is one), after which it is closed."""
        shaken = self.shaken = self.poller.loop.create_future()
        self.poller.watch(self.socket.fileno(), IN, self)
        try:
            self.advance()
            await shaken
        except BaseException:
            self.abort()
            raise

    def advance(self) -> None:
        """Go on with the handshake, as far as it goes."""
        assert self.shaken is not None
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self.send()
            return
        except ssl.SSLError as error:
            self.send()  # the other end wants to know why
            self.lose(error)
            return
        self.send()
        shaken, self.shaken = self.shaken, None
        if shaken.done():  # whoever waited has gone
            return
        shaken.set_result(None)
        self.owner.connection_made(self)
        if not self.closed and self.incoming.pending:
            self.decrypt()

    # What the owner does.

    def write(self, data: bytes) -> None:
        """Send bytes; what the kernel has no room for waits."""
        if self.closed or self.ending:
            return
        self.tls.write(data)
        self.send()

    @property
    def unsent(self) -> int:
        """Bytes that wait for the kernel."""
        return self.waiting

    def close(self) -> None:
        """End TLS once all is sent, and wait a moment until the other end has it.

        The owner hears nothing more. A socket closed at once with something unread
        would be reset, and what was sent last be lost.
        """
        if self.closed or self.ending:
            return
        self.ending = True
        with contextlib.suppress(ssl.SSLError):  # it wants to read the other's goodbye
            self.tls.unwrap()
        self.send()
        self.timer = self.poller.loop.call_later(GOODBYE, self.abort)
        if not self.backlog:
            self.finish()

    def abort(self) -> None:
        """Close at once; the owner hears nothing more."""
        if self.closed:
            return
        self.closed = True
        if self.timer is not None:
            self.timer.cancel()
        self.poller.leave(self.socket.fileno())
        self.socket.close()
        self.backlog.clear()
        self.waiting = 0

    # What the kernel does.

    def ready(self, events: int) -> None:
        """There is something to read, room to write, or an error."""
        if events & OUT and self.backlog:
            self.send_backlog()
        if events & ~OUT and not self.closed:
            self.read()

    def read(self) -> None:
        """Take what came."""
        try:
            count = self.socket.recv_into(self.ciphertext)
        except BlockingIOError:
            return
        except OSError as error:
            self.lose(error)
            return
        if self.ending:
            if not count:
                self.abort()
        elif not count:
            self.lose(self.error)
        else:
            self.incoming.write(self.ciphertext[:count])
            if self.shaken is None:
                self.decrypt()
            else:
                self.advance()

    def decrypt(self) -> None:
        """Give the owner what whole records hold."""
        read, incoming, plaintext = self.tls.read, self.incoming, self.plaintext
        filled = 0
        error: ssl.SSLError | None = None
        ended = False
        # What is left after the last whole record costs an exception to find out.
        while incoming.pending:
            try:
                # Typeshed doesn't know that a read into a buffer gives a count.
                count = cast("int", read(RECORD, plaintext[filled:]))
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as broken:
                error = broken
                break
            if not count:
                ended = True
                break
            filled += count
            if filled > READ - RECORD:
                self.owner.received(plaintext[:filled])
                filled = 0
                if self.closed or self.ending:
                    return
        if filled:
            self.owner.received(plaintext[:filled])
            if self.closed or self.ending:
                return
        if self.outgoing.pending:  # keys that change, or why it broke
            self.send()
        if error is not None or ended:
            self.lose(error)

    def lose(self, error: Exception | None) -> None:
        """It is gone."""
        if self.closed:
            return
        told = self.ending
        self.abort()
        if self.shaken is not None:
            if not self.shaken.done():
                self.shaken.set_exception(error or ConnectionResetError("it was closed"))
        elif not told:
            self.owner.connection_lost(error)

    def send(self) -> None:
        """Give the kernel what OpenSSL has made."""
        if not self.outgoing.pending:
            return
        data = self.outgoing.read()
        taken = 0 if self.backlog else self.give(data)
        if taken < len(data):
            self.backlog.append(memoryview(data)[taken:])
            self.waiting += len(data) - taken
            self.watch(IN | OUT)
            if self.waiting > HIGH and not self.paused and self.shaken is None:
                self.paused = True
                self.owner.pause_writing()

    def send_backlog(self) -> None:
        """There is room: give the kernel what waits."""
        while self.backlog:
            data = self.backlog[0]
            taken = self.give(data)
            self.waiting -= taken
            if taken < len(data):
                self.backlog[0] = data[taken:]
                break
            self.backlog.popleft()
        if not self.backlog:
            self.watch(IN)
            if self.ending:
                self.finish()
        if self.paused and self.waiting <= LOW:
            self.paused = False
            if not self.ending:
                self.owner.resume_writing()

    def give(self, data: bytes | memoryview) -> int:
        """How many bytes the kernel takes; all, once the connection is broken."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            # The epoll tells of it as well, at the next turn.
            self.error = self.error or error
            return len(data)

    def watch(self, events: int) -> None:
        """Watch for these events."""
        if self.watched != events:
            self.watched = events
            self.poller.change(self.socket.fileno(), events)

    def finish(self) -> None:
        """All is said, the other end's goodbye is what is left."""
        with contextlib.suppress(OSError):  # it is gone already
            self.socket.shutdown(socket.SHUT_WR)
