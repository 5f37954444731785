"""The parts of a connection, and what several of them do to a stream."""

from __future__ import annotations

from collections.abc import Callable

from ztunnel_compat.h2.codes import ErrorCode, Role
from ztunnel_compat.h2.errors import StreamFault
from ztunnel_compat.h2.frames import rst_stream
from ztunnel_compat.h2.handler import Handler
from ztunnel_compat.h2.inflow import Inflow
from ztunnel_compat.h2.limits import Limits
from ztunnel_compat.h2.memo import HeadReader
from ztunnel_compat.h2.output import Output
from ztunnel_compat.h2.sender import Sender
from ztunnel_compat.h2.settings import PeerSettings, Settings
from ztunnel_compat.h2.streams import Stream, StreamTable


class State:
    """What the receiver, control and the connection share."""

    __slots__ = (
        "closed",
        "handler",
        "inflow",
        "last_accepted",
        "limits",
        "output",
        "peer",
        "reader",
        "received_goaway",
        "role",
        "sender",
        "sent_goaway",
        "settings",
        "table",
    )

    def __init__(
        self, role: Role, handler: Handler, settings: Settings, clock: Callable[[], float]
    ) -> None:
        self.role = role
        self.handler = handler
        self.settings = settings
        self.peer = PeerSettings()
        self.output = Output()
        self.limits = Limits(clock)
        self.inflow = Inflow(settings, self.output)
        self.table = StreamTable(role, self.inflow.release)
        self.sender = Sender(
            settings,
            self.peer,
            self.output,
            self.limits,
            self.settle,
            responds=role is Role.SERVER,
        )
        self.reader = HeadReader(role, settings)
        self.closed = False
        self.sent_goaway = False
        self.received_goaway = False
        #: The last stream that our final GOAWAY lets the peer open; None before it.
        self.last_accepted: int | None = None

    def settle(self, stream: Stream) -> None:
        """A side of the stream closed: see whether that was its end.

        A message's response makes what is left of its request worthless (RFC 9113
        section 8.1); in a tunnel each direction ends by itself.
        """
        if stream.finished:
            return
        if stream.local_closed and stream.remote_closed:
            self.table.retire(stream)
        elif stream.tunnel:
            return
        elif self.role is Role.SERVER:
            if stream.local_closed:
                self.reset(stream, ErrorCode.NO_ERROR)
        elif stream.remote_closed:
            self.reset(stream, ErrorCode.CANCEL)

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream early; the handler isn't told."""
        if not stream.finished:
            self.refuse(stream.id, code)
            self.table.retire(stream)

    def refuse(self, identifier: int, code: int) -> None:
        """Write RST_STREAM."""
        self.output.answer(rst_stream(identifier, code))
        self.table.remember_reset(identifier, ours=True)

    def break_stream(self, identifier: int, fault: StreamFault) -> None:
        """The peer broke a stream, in the table or not: reset it, tell the handler.

        Raises ConnectionFault when that happens too often.
        """
        self.limits.resets.spend(self.limits.clock())
        stream = self.table.streams.get(identifier)
        if stream is None:
            self.refuse(identifier, fault.code)
        else:
            self.reset(stream, fault.code)
            self.handler.on_reset(stream, fault.code)
