"""What the owner of a connection is told."""

from __future__ import annotations

from typing import Protocol

from ztunnel_compat.h2.errors import ConnectionFault
from ztunnel_compat.h2.fields import Fields
from ztunnel_compat.h2.streams import Stream


class Handler(Protocol):
    """The owner's side, called from within receive(); on_writable from take_output().

    Handlers may call the connection back, but not receive(). An exception of theirs
    leaves receive(), and the connection can't be used after it.
    """

    def on_request(self, stream: Stream, headers: Fields, end: bool) -> None:
        """A request (server); end: it has no content."""

    def on_response(self, stream: Stream, headers: Fields, end: bool) -> None:
        """A response (client); those with a 1xx status come before the final one."""

    def on_data(self, stream: Stream, data: bytes | memoryview, end: bool) -> None:
        """Content; call Connection.consumed() when it was passed on.

        A memoryview is valid during the call only. Data may be empty when end is set.
        """

    def on_trailers(self, stream: Stream, headers: Fields) -> None:
        """Trailers, which end the peer's side."""

    def on_reset(self, stream: Stream, code: int) -> None:
        """The stream ended early: the peer reset it, or broke it, or the connection did."""

    def on_writable(self, stream: Stream) -> None:
        """The stream's queue was above its high mark and is at its low one."""

    def on_goaway(self, last_stream: int, code: int) -> None:
        """The peer takes no new streams; those above last_stream got on_reset."""

    def on_pong(self, payload: bytes) -> None:
        """The answer to ping()."""

    def on_closed(self, error: ConnectionFault | None) -> None:
        """The connection is over: write what take_output() has, then close.

        error: what the peer broke, or None after lost(). Every open stream got
        on_reset before.
        """
