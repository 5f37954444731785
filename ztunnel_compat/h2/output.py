"""What waits to be written."""

from __future__ import annotations


class Output:
    """Pieces in the order in which they must be sent.

    caused: bytes among them that the peer made us write (acknowledgements, resets,
    credit), which it could pile up by not reading; the receiver bounds them.
    """

    __slots__ = ("caused", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.caused = 0

    def answer(self, frame: bytes) -> None:
        """Add a frame that the peer caused."""
        self.pieces.append(frame)
        self.caused += len(frame)

    def take(self) -> list[bytes]:
        """All of it; nothing stays."""
        pieces = self.pieces
        self.pieces = []
        self.caused = 0
        return pieces
