"""Bodies kept so that requests can be sent again: bounded, and counted when lost.

Envoy keeps 1 MiB of each request. Ten thousand streams could then hold 10 GiB, so all
of a worker's requests share a bound too.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Bytes of one request, and of all of a worker's.
PER_REQUEST = 1024 * 1024
IN_TOTAL = 64 * 1024 * 1024


@dataclass(slots=True)
class ReplayPool:
    """What a worker keeps of its requests.

    lost_large, lost_full: requests whose body was let go because it was too large, or
    because all together were.
    """

    per_request: int = PER_REQUEST
    in_total: int = IN_TOTAL
    held: int = 0
    lost_large: int = 0
    lost_full: int = 0


class Replay:
    """One request's body so far, while it can be sent again."""

    __slots__ = ("lost", "parts", "pool", "size")

    def __init__(self, pool: ReplayPool) -> None:
        self.pool = pool
        self.parts: list[bytes] = []
        self.size = 0
        #: It has grown past a bound: it can't be sent again.
        self.lost = False

    def add(self, data: bytes) -> None:
        """Keep more of the body, or let go of all of it."""
        if self.lost or not data:
            return
        pool = self.pool
        large = self.size + len(data) > pool.per_request
        if large or pool.held + len(data) > pool.in_total:
            if large:
                pool.lost_large += 1
            else:
                pool.lost_full += 1
            self.lost = True
            self.release()
            return
        self.parts.append(data)
        self.size += len(data)
        pool.held += len(data)

    def body(self) -> bytes | None:
        """All of it so far; None: it was let go."""
        if self.lost:
            return None
        if len(self.parts) > 1:
            self.parts = [b"".join(self.parts)]
        return self.parts[0] if self.parts else b""

    def release(self) -> None:
        """It isn't needed any more; may be called twice."""
        self.pool.held -= self.size
        self.size = 0
        self.parts = []
