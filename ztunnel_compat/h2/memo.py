"""Header blocks read before need no reading again.

What a block means depends on the dynamic table, so the memo lives only as long as
the table stays as it is: a block that inserts or resizes is never stored, and clears
all. In steady state a client's blocks are indices alone, and every one is found here.

Some encoders never use the table and insert all the same, with every block (nginx). What
such a block means depends on nothing: it is remembered with what it inserts, apart.

A client's requests mostly differ in their :path alone, which most encoders don't index
(nghttp2, browsers, Envoy, curl): what is around it is remembered too.
"""

from __future__ import annotations

import re

from ztunnel_compat.h2 import huffman
from ztunnel_compat.h2.codes import Role
from ztunnel_compat.h2.decoder import Decoder, read_integer, size_of
from ztunnel_compat.h2.errors import ConnectionFault, OversizeFault
from ztunnel_compat.h2.fields import (
    PLAIN_PATH,
    Family,
    Head,
    request_head,
    response_head,
    trailer_head,
)
from ztunnel_compat.h2.settings import Settings
from ztunnel_compat.h2.static import Field

#: Bytes of a block worth remembering, bytes of all that is remembered, first sightings.
LONGEST = 4096
MEMO_LIMIT = 256 * 1024
SEEN_LIMIT = 1024
#: What a family counts beside its bytes, for what its owner may make of it.
FAMILY_COST = 8 * 1024


#: A run of fields that are indices of one byte, then a literal :path that isn't indexed.
BEFORE_PATH = re.compile(rb"[\x81-\xfe]*+[\x04\x14]")

Inserting = tuple[Head, tuple[tuple[Field, int], ...]]


class HeadReader:
    """Blocks of one connection to checked heads."""

    __slots__ = (
        "decoder", "extended", "families", "heads", "inserting", "inserting_trailers", "role",
        "seen", "size", "trailers",
    )  # fmt: skip

    def __init__(self, role: Role, settings: Settings) -> None:
        self.decoder = Decoder(settings.header_list_limit)
        self.role = role
        self.extended = settings.connect_protocol
        #: Apart, since the same block is sound as one and malformed as the other.
        self.heads: dict[bytes, Head] = {}
        self.trailers: dict[bytes, Head] = {}
        #: By what is before and after the :path of a request.
        self.families: dict[tuple[bytes, bytes], Family] = {}
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
            or self.read_sibling(block)
            or self.read(block, trailers=False)
        )

    def read_sibling(self, block: bytes) -> Head | None:
        """The head of a request whose family is known, None: it isn't, or its path isn't
        for a short look.
        """
        families = self.families
        if not families:
            return None
        found = find_path(block)
        if found is None:
            return None
        start, value, end = found
        family = families.get((block[:start], block[end:]))
        if family is None:
            return None
        path = block[value:end]
        if block[start + 1] & 0x80:
            try:
                path = huffman.decode(path)
            except huffman.HuffmanError:
                return None
        if PLAIN_PATH.fullmatch(path) is None or family.size + len(path) > self.decoder.limit:
            return None
        head = family.head(path)
        if self.come_back(block, family.size):
            self.heads[block] = head
        return head

    def found_family(self, head: Head, block: bytes) -> None:
        """Remember what is around a request's path, at its second sighting."""
        found = find_path(block)
        if found is None:
            return
        start, _, end = found
        around = block[:start], block[end:]
        place = next(n for n, field in enumerate(head.fields) if field[0] == b":path")
        path = head.fields[place][1]
        if around in self.families or PLAIN_PATH.fullmatch(path) is None:
            return
        if self.come_back(around, self.decoder.list_size + FAMILY_COST):
            self.families[around] = Family(head, place, self.decoder.list_size - len(path))

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
        self.decoder.insert_all(inserted)
        if self.heads or self.trailers or self.families:
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
            if self.come_back(block, decoder.list_size):
                (self.trailers if trailers else self.heads)[block] = head
            if head.method and not head.tunnel:
                self.found_family(head, block)
        elif not decoder.dependent and self.come_back(block, decoder.list_size):
            memo = self.inserting_trailers if trailers else self.inserting
            memo[block] = head, tuple((field, size_of(field)) for field in decoder.inserted)
        return head

    def decode(self, block: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
        """A block's fields, and whether the table is as it was."""
        changes = self.decoder.changes
        fields = self.decoder.decode(block)
        if self.decoder.changes == changes:
            return fields, True
        self.changed()
        return fields, False

    def come_back(self, block: bytes | tuple[bytes, bytes], size: int) -> bool:
        """Whether a block, or what is around its path, is worth remembering: at its second
        sighting; makes room. size: of its field section.
        """
        sighting = hash(block)
        if sighting not in self.seen:
            if len(self.seen) >= SEEN_LIMIT:
                self.seen.clear()
            self.seen.add(sighting)
            return False
        size += len(block) if isinstance(block, bytes) else len(block[0]) + len(block[1])
        if self.size + size > MEMO_LIMIT:
            self.forget()
        self.size += size
        return True

    def changed(self) -> None:
        """The table is another: what depends on it means something else now."""
        if self.heads or self.trailers or self.families:
            self.heads.clear()
            self.trailers.clear()
            self.families.clear()
            if not self.inserting and not self.inserting_trailers:
                self.size = 0

    def forget(self) -> None:
        """Drop what is remembered."""
        if self.size:
            self.heads.clear()
            self.trailers.clear()
            self.families.clear()
            self.inserting.clear()
            self.inserting_trailers.clear()
            self.size = 0


def find_path(block: bytes) -> tuple[int, int, int] | None:
    """Where the literal :path of a request's block begins, its value, and what is after;
    None: it isn't there, or not in so plain a form.
    """
    before = BEFORE_PATH.match(block)
    if before is None:
        return None
    value = before.end()
    size = len(block)
    if value >= size:
        return None
    length = block[value] & 0x7F
    value += 1
    if length == 0x7F:
        try:
            length, value = read_integer(block, value, length)
        except (IndexError, ConnectionFault):
            return None
    end = value + length
    return (before.end() - 1, value, end) if end <= size else None
