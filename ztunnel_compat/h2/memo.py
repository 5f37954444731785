"""Header blocks read before need no reading again.

What a block means depends on the dynamic table, so the memo lives only as long as
the table stays as it is: a block that inserts or resizes is never stored, and clears
all. In steady state a client's blocks are indices alone, and every one is found here.

Some encoders never use the table and insert all the same, with every block (nginx). What
such a block means depends on nothing: it is remembered with what it inserts, apart.
"""

from __future__ import annotations

from ztunnel_compat.h2.codes import Role
from ztunnel_compat.h2.decoder import Decoder
from ztunnel_compat.h2.errors import OversizeFault
from ztunnel_compat.h2.fields import Head, request_head, response_head, trailer_head
from ztunnel_compat.h2.settings import Settings

#: Bytes of a block worth remembering, bytes of all that is remembered, first sightings.
LONGEST = 4096
MEMO_LIMIT = 256 * 1024
SEEN_LIMIT = 1024


Inserting = tuple[Head, tuple[tuple[bytes, bytes], ...]]


class HeadReader:
    """Blocks of one connection to checked heads."""

    __slots__ = (
        "decoder", "extended", "heads", "inserting", "inserting_trailers", "role", "seen",
        "size", "trailers",
    )  # fmt: skip

    def __init__(self, role: Role, settings: Settings) -> None:
        self.decoder = Decoder(settings.header_list_limit)
        self.role = role
        self.extended = settings.connect_protocol
        #: Apart, since the same block is sound as one and malformed as the other.
        self.heads: dict[bytes, Head] = {}
        self.trailers: dict[bytes, Head] = {}
        #: Blocks that insert and refer to nothing, and what they insert.
        self.inserting: dict[bytes, Inserting] = {}
        self.inserting_trailers: dict[bytes, Inserting] = {}
        #: Hashes of blocks that were seen once; most that are unique never come back.
        self.seen: set[int] = set()
        self.size = 0

    def read_head(self, block: bytes) -> Head:
        """A request or a response; raises ConnectionFault, StreamFault."""
        return (
            self.heads.get(block)
            or self.repeat(self.inserting.get(block))
            or self.read(block, trailers=False)
        )

    def read_trailers(self, block: bytes) -> Head:
        """Trailers; raises ConnectionFault, StreamFault."""
        return (
            self.trailers.get(block)
            or self.repeat(self.inserting_trailers.get(block))
            or self.read(block, trailers=True)
        )

    def repeat(self, found: Inserting | None) -> Head | None:
        """Do to the table what a remembered block does; its head."""
        if found is None:
            return None
        head, inserted = found
        for field in inserted:
            self.decoder.insert(field)
        self.changed()
        return head

    def skip(self, block: bytes) -> None:
        """Decode a block nobody wants, for what it does to the table."""
        self.decode(block)

    def read(self, block: bytes, *, trailers: bool) -> Head:
        """Decode and check a block that isn't remembered."""
        fields, stable = self.decode(block)
        decoder = self.decoder
        if decoder.list_size > decoder.limit:
            raise OversizeFault(decoder.list_size, decoder.limit)
        if trailers:
            head = trailer_head(fields)
        elif self.role is Role.SERVER:
            head = request_head(fields, extended=self.extended)
        else:
            head = response_head(fields)
        if len(block) > LONGEST:
            return head
        if stable:
            if self.come_back(block):
                (self.trailers if trailers else self.heads)[block] = head
        elif not decoder.dependent and self.come_back(block):
            memo = self.inserting_trailers if trailers else self.inserting
            memo[block] = head, tuple(decoder.inserted)
        return head

    def decode(self, block: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
        """A block's fields, and whether the table is as it was."""
        changes = self.decoder.changes
        fields = self.decoder.decode(block)
        if self.decoder.changes == changes:
            return fields, True
        self.changed()
        return fields, False

    def come_back(self, block: bytes) -> bool:
        """Whether a block is worth remembering: at its second sighting; makes room."""
        sighting = hash(block)
        if sighting not in self.seen:
            if len(self.seen) >= SEEN_LIMIT:
                self.seen.clear()
            self.seen.add(sighting)
            return False
        size = len(block) + self.decoder.list_size
        if self.size + size > MEMO_LIMIT:
            self.forget()
        self.size += size
        return True

    def changed(self) -> None:
        """The table is another: what depends on it means something else now."""
        if self.heads or self.trailers:
            self.heads.clear()
            self.trailers.clear()
            if not self.inserting and not self.inserting_trailers:
                self.size = 0

    def forget(self) -> None:
        """Drop what is remembered."""
        if self.size:
            self.heads.clear()
            self.trailers.clear()
            self.inserting.clear()
            self.inserting_trailers.clear()
            self.size = 0
