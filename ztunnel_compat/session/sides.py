"""What an HBONE connection asks of those around it: streams' owners, a clock, TLS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ztunnel_compat.hbone import Headers


class Owner(Protocol):
    """Whose stream it is: ``stream.data``. Called from within a read of the connection."""

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


class Timer(Protocol):
    """A call that is due at some time."""

    def cancel(self) -> None:
        """Have it not come."""
        ...


class Clock(Protocol):
    """An event loop, as far as it tells and keeps time."""

    def time(self) -> float:
        """Seconds."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call in so many seconds."""
        ...


class Carrier(Protocol):
    """TLS, once it is up."""

    def write(self, data: bytes) -> None:
        """Send bytes, or keep them until there is room."""
        ...

    def close(self) -> None:
        """End it when all is sent."""
        ...

    def abort(self) -> None:
        """End it now."""
        ...
