"""HPACK encoding (RFC 7541).

Strings are sent as they are: Huffman coding would save bytes that nobody pays for
between nodes, with time that everybody does. The dynamic table takes a field when it
is seen the second time and only while there is room: unique values would push out
what recurs, and an entry that leaves would make every memo stale.
"""

from __future__ import annotations

from collections import deque

from ztunnel_compat.h2.codes import DEFAULT_TABLE
from ztunnel_compat.h2.decoder import OVERHEAD
from ztunnel_compat.h2.static import FIELD_INDEX, FIRST_DYNAMIC, NAME_INDEX, Field

#: Never indexed, by no hop (section 7.1.3): a table that several clients' requests
#: share would tell one of them when it guessed another's secret.
SECRETS = frozenset(
    {b"authorization", b"cookie", b"proxy-authorization", b"set-cookie", b"x-api-key"}
)
#: Bounds of the memos: entries, bytes of a block that may be kept, bytes of all.
SEEN_LIMIT = 1024
LONGEST = 4096
MEMO_LIMIT = 128 * 1024


class Encoder:
    """One direction's table. A block must be sent in the order in which it was encoded."""

    __slots__ = (
        "blocks",
        "entries",
        "index",
        "inserted",
        "known",
        "limit",
        "lowest",
        "memo_size",
        "seen",
        "table_size",
    )

    def __init__(self) -> None:
        self.limit = DEFAULT_TABLE
        #: The lowest limit since the last block, when it has to be announced.
        self.lowest: int | None = None
        #: The newest is the last.
        self.entries: deque[Field] = deque()
        #: field → how many were inserted before it.
        self.index: dict[Field, int] = {}
        self.inserted = 0
        self.table_size = 0
        #: Hashes of fields and field lists that were seen once.
        self.seen: set[int] = set()
        #: Memos, good while the table stays as it is: of fields and of whole blocks.
        self.known: dict[Field, bytes] = {}
        self.blocks: dict[tuple[Field, ...], bytes] = {}
        self.memo_size = 0

    def set_limit(self, limit: int) -> None:
        """Take the peer's SETTINGS_HEADER_TABLE_SIZE.

        One that was lowered and raised again between two blocks is announced with
        both values (section 4.2): the peer evicted what didn't fit.
        """
        limit = min(limit, DEFAULT_TABLE)
        if limit == self.limit:
            return
        self.limit = limit
        self.lowest = limit if self.lowest is None else min(limit, self.lowest)
        while self.table_size > limit:
            field = self.entries.popleft()
            del self.index[field]
            self.table_size -= len(field[0]) + len(field[1]) + OVERHEAD
        self.forget()

    def forget(self) -> None:
        """Drop the memos; the table stays."""
        self.known.clear()
        self.blocks.clear()
        self.memo_size = 0

    def encode(self, fields: list[Field], unique: Field | None = None) -> bytes:
        """The block for fields, which must be sent next.

        unique: a last field that never comes back, such as a request's id: it is
        coded as it is, so that what is known of the others stays of use.
        """
        block = self.encode_all(fields)
        return block if unique is None else block + literal(*unique, 0x00, 4)

    def encode_all(self, fields: list[Field]) -> bytes:
        """The same, of fields that may come back."""
        key = tuple(fields)
        block = self.blocks.get(key)
        if block is not None and self.lowest is None:
            return block
        inserted = self.inserted
        announced = self.lowest is not None
        parts = [self.announce()] if announced else []
        known = self.known.get
        for field in key:
            part = known(field)
            parts.append(self.learn(field) if part is None else part)
        block = b"".join(parts)
        if self.inserted == inserted and not announced and len(block) <= LONGEST:
            self.offer(key, block)
        return block

    def announce(self) -> bytes:
        """The size updates that are due (section 6.3)."""
        lowest = self.lowest
        self.lowest = None
        assert lowest is not None
        update = write_integer(lowest, 0x20, 5)
        return update if lowest == self.limit else update + write_integer(self.limit, 0x20, 5)

    def learn(self, field: Field) -> bytes:
        """A field that no memo knows."""
        index = FIELD_INDEX.get(field)
        if index is not None:
            return self.note(field, write_integer(index, 0x80, 7))
        position = self.index.get(field)
        if position is not None:
            index = FIRST_DYNAMIC + self.inserted - 1 - position
            return self.note(field, write_integer(index, 0x80, 7))
        name, value = field
        if name in SECRETS:
            return literal(name, value, 0x10, 4)
        if not self.seen_before(field):
            return literal(name, value, 0x00, 4)
        size = len(name) + len(value) + OVERHEAD
        if self.table_size + size > self.limit:
            return self.note(field, literal(name, value, 0x00, 4))
        self.table_size += size
        self.entries.append(field)
        self.index[field] = self.inserted
        self.inserted += 1
        # Every index of the dynamic table has moved.
        self.forget()
        return literal(name, value, 0x40, 6)

    def seen_before(self, thing: Field | tuple[Field, ...]) -> bool:
        """Whether this is a second sighting."""
        sighting = hash(thing)
        if sighting in self.seen:
            return True
        if len(self.seen) >= SEEN_LIMIT:
            self.seen.clear()
        self.seen.add(sighting)
        return False

    def note(self, field: Field, part: bytes) -> bytes:
        """Remember how a field is coded."""
        self.grow(len(field[0]) + len(field[1]) + len(part))
        self.known[field] = part
        return part

    def offer(self, key: tuple[Field, ...], block: bytes) -> None:
        """Remember a whole block, when it is worth it and holds no secret."""
        if self.seen_before(key) and not any(name in SECRETS for name, _ in key):
            self.grow(len(block) + sum(len(name) + len(value) for name, value in key))
            self.blocks[key] = block

    def grow(self, size: int) -> None:
        """Account for what is about to be remembered; full memos start over."""
        if self.memo_size + size > MEMO_LIMIT:
            self.forget()
        self.memo_size += size + OVERHEAD


def write_integer(value: int, pattern: int, bits: int) -> bytes:
    """An integer with a prefix of so many bits, the rest of its first byte a pattern."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes((pattern | value,))
    coded = bytearray((pattern | limit,))
    value -= limit
    while value >= 0x80:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    coded.append(value)
    return bytes(coded)


def literal(name: bytes, value: bytes, pattern: int, bits: int) -> bytes:
    """A literal field; its name by the static table where that has it."""
    index = NAME_INDEX.get(name, 0)
    head = write_integer(index, pattern, bits)
    if not index:
        head += write_integer(len(name), 0, 7) + name
    return head + write_integer(len(value), 0, 7) + value
