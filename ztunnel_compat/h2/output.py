"""What waits to be written."""

from __future__ import annotations


class Output:
    """Pieces in the order in which they must be sent.

    caused: bytes among them that the peer made us write (acknowledgements, resets,
    credit), which it could pile up by not reading; the receiver bounds them. heads: bytes
    of header blocks, which no window holds back: beyond a bound nobody opens a stream.
    """

    __slots__ = ("caused", "heads", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.caused = 0
        self.heads = 0

    def answer(self, frame: bytes) -> None:
        """Add a frame that the peer caused."""
        self.pieces.append(frame)
        self.caused += len(frame)

    def take(self) -> list[bytes]:
        """All of it; nothing stays."""
        pieces = self.pieces
        self.pieces = []
        self.caused = 0
        self.heads = 0
        return pieces
