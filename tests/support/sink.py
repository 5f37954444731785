"""A writer that notes what it is given, and takes no more than it has room for."""

from __future__ import annotations


class Sink:
    """Takes up to room bytes."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.writes: list[bytes] = []

    def __call__(self, data: bytes) -> int:
        """Take what fits; how much that is."""
        size = min(self.room, len(data))
        self.room -= size
        if size:
            self.writes.append(data[:size])
        return size
