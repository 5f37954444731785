"""HPACK decoding (RFC 7541)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ztunnel_compat.h2 import huffman
from ztunnel_compat.h2.codes import DEFAULT_TABLE, ErrorCode
from ztunnel_compat.h2.errors import ConnectionFault
from ztunnel_compat.h2.static import FIRST_DYNAMIC, STATIC, Field

#: What RFC 7541 section 4.1 adds to the bytes of a field.
OVERHEAD = 32
#: How many times the limit a section may have that is still decoded to its end, so that a
#: little too much ends its stream alone: an index of one byte may stand for 4 KiB.
FAR = 2
#: Size updates of a block: the smallest since the last one, and the final one (RFC 7541
#: section 4.2).
MAX_RESIZES = 2
#: No integer in a header block has a reason to be larger.
MAX_INTEGER = 1 << 28


class Decoder:
    """One direction's table, and blocks turned into fields.

    The limit of the table is the protocol's default, 4,096 bytes: announcing another
    would save nothing.
    """

    __slots__ = (
        "changes", "dependent", "entries", "inserted", "limit",
        "list_size", "table_limit", "table_size",
    )  # fmt: skip

    def __init__(self, limit: int) -> None:
        #: The field section size that is taken; beyond it fields are counted, not kept.
        self.limit = limit
        #: Size of the last block's field section (RFC 9113 section 6.5.2), names and
        #: values that came as an index included: a block of indices can't be a bomb.
        self.list_size = 0
        #: With their sizes; the newest is the last: index FIRST_DYNAMIC + n is
        #: entries[-1 - n].
        self.entries: deque[tuple[Field, int]] = deque()
        self.table_size = 0
        self.table_limit = DEFAULT_TABLE
        #: How often the table was inserted to or resized: what was decoded before a
        #: change may mean something else after it.
        self.changes = 0
        #: What the last block inserted, and whether its meaning depended on the table, or
        #: it resized it: where not, the block means and does the same at any time.
        self.inserted: list[Field] = []
        self.dependent = False

    def decode(self, block: bytes) -> list[Field]:
        """The block's fields, in order; none kept beyond the limit (see list_size).

        Raises ConnectionFault: the table is lost then.
        """
        try:
            return self.read_fields(block)
        except (IndexError, huffman.HuffmanError) as e:
            raise broken(f"a header block is cut off or badly coded: {e}") from None

    def read_fields(self, block: bytes) -> list[Field]:
        """As decode(), but IndexError stands for a block that is cut off."""
        fields: list[Field] = []
        self.inserted = inserted = []
        self.dependent = False
        position = total = resized = 0
        size = len(block)
        limit = self.limit
        while position < size:
            byte = block[position]
            position += 1
            if byte & 0x80:
                index = byte & 0x7F
                if index == 0x7F:
                    index, position = read_integer(block, position, index)
                field = STATIC[index] if 0 < index < FIRST_DYNAMIC else self.dynamic(index)
            elif byte & 0x60 == 0x20:
                if total:
                    raise broken("a table size update after a field")
                resized += 1
                if resized > MAX_RESIZES:
                    raise broken(f"more than {MAX_RESIZES} table size updates in a block")
                index = byte & 0x1F
                if index == 0x1F:
                    index, position = read_integer(block, position, index)
                self.resize(index)
                continue
            else:
                mask = 0x3F if byte & 0x40 else 0x0F
                index = byte & mask
                if index == mask:
                    index, position = read_integer(block, position, index)
                if index == 0:
                    name, position = read_string(block, position)
                elif index < FIRST_DYNAMIC:
                    name = STATIC[index][0]
                else:
                    name = self.dynamic(index)[0]
                value, position = read_string(block, position)
                field = (name, value)
                if mask == 0x3F:
                    self.insert(field)
                    inserted.append(field)
            total += len(field[0]) + len(field[1]) + OVERHEAD
            if total <= limit:
                fields.append(field)
            elif total > FAR * limit:
                raise ConnectionFault(
                    ErrorCode.ENHANCE_YOUR_CALM,
                    f"a header block of more than {FAR * limit} bytes in {size}",
                )
        self.list_size = total
        return fields

    def dynamic(self, index: int) -> Field:
        """An entry of the dynamic table."""
        self.dependent = True
        if not FIRST_DYNAMIC <= index < FIRST_DYNAMIC + len(self.entries):
            raise broken(f"index {index} is in neither table")
        return self.entries[FIRST_DYNAMIC - 1 - index][0]

    def insert(self, field: Field) -> None:
        """Add an entry; one that is larger than the table empties it (section 4.4)."""
        self.insert_all(((field, size_of(field)),))

    def insert_all(self, fields: Iterable[tuple[Field, int]]) -> None:
        """Add entries, each with its size, one after the other."""
        entries, limit, size = self.entries, self.table_limit, self.table_size
        for entry in fields:
            entries.append(entry)
            size += entry[1]
            while size > limit:
                size -= entries.popleft()[1]
        self.table_size = size
        self.changes += 1

    def resize(self, limit: int) -> None:
        """Take a size update of the peer's encoder (section 6.3)."""
        if limit > DEFAULT_TABLE:
            raise broken(f"a table of {limit} bytes, more than {DEFAULT_TABLE}")
        self.changes += 1
        self.dependent = True
        self.table_limit = limit
        while self.table_size > limit:
            self.table_size -= self.entries.popleft()[1]


def size_of(field: Field) -> int:
    """What a field counts in a table, or in a section (RFC 7541 section 4.1)."""
    return len(field[0]) + len(field[1]) + OVERHEAD


def read_integer(block: bytes, position: int, prefix: int) -> tuple[int, int]:
    """An integer that its prefix didn't hold, and the position after it (section 5.1)."""
    value = prefix
    for shift in (0, 7, 14, 21, 28):
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            if value > MAX_INTEGER:
                break
            return value, position
    raise broken(f"an integer of {value} or more")


def read_string(block: bytes, position: int) -> tuple[bytes, int]:
    """A string and the position after it (section 5.2)."""
    byte = block[position]
    position += 1
    length = byte & 0x7F
    if length == 0x7F:
        length, position = read_integer(block, position, length)
    end = position + length
    if end > len(block):
        raise broken(f"a string of {length} bytes reaches beyond its block")
    if byte & 0x80:
        return huffman.decode(block[position:end]), end
    return block[position:end], end


def broken(reason: str) -> ConnectionFault:
    """A block that can't be decoded ends the connection (RFC 9113 section 4.3)."""
    return ConnectionFault(ErrorCode.COMPRESSION_ERROR, reason)
