"""The sending half of a CONNECT on the h2 library, at either end of a tunnel."""

from __future__ import annotations

import asyncio
from typing import Protocol

import h2.connection


class Sender(Protocol):
    """A connection. room: its socket takes more."""

    h2: h2.connection.H2Connection
    room: asyncio.Event

    def flush(self) -> None: ...


class Sending:
    """A stream of one; window: was opened, or the stream is gone."""

    #: What writing to a stream that is gone raises.
    failure: type[Exception]

    def __init__(self, sender: Sender, number: int) -> None:
        self.sender = sender
        self.number = number
        self.window = asyncio.Event()
        self.gone = False

    async def write(self, data: bytes) -> None:
        sender = self.sender
        view = memoryview(data)
        while view:
            if self.gone:
                raise self.failure("gone")
            room = min(
                sender.h2.local_flow_control_window(self.number),
                sender.h2.max_outbound_frame_size,
                len(view),
            )
            if not room:
                self.window.clear()
                await self.window.wait()
                continue
            sender.h2.send_data(self.number, view[:room].tobytes())
            sender.flush()
            await sender.room.wait()
            view = view[room:]

    def end(self) -> None:
        self.sender.h2.end_stream(self.number)
        self.sender.flush()
