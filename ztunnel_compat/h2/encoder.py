"""HPACK encoding (RFC 7541).

Strings are sent as they are: Huffman coding would save bytes that nobody pays for
between nodes, with time that everybody does. The dynamic table takes a field when it
is seen the second time and only while there is room: unique values would push out
what recurs, and an entry that leaves would make every memo stale.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ztunnel_compat.h2.codes import DEFAULT_TABLE
from ztunnel_compat.h2.decoder import OVERHEAD
from ztunnel_compat.h2.literals import SHORT, literal, write_integer, write_string
from ztunnel_compat.h2.section import Around, Coded, Section
from ztunnel_compat.h2.static import FIELD_INDEX, FIRST_DYNAMIC, Field

#: Never indexed, by no hop (section 7.1.3): a table that several clients' requests
#: share would tell one of them when it guessed another's secret.
SECRETS = frozenset(
    {b"authorization", b"cookie", b"proxy-authorization", b"set-cookie", b"x-api-key"}
)
#: Bounds: first sightings, bytes of a block that its section keeps, of the memo of fields.
SEEN_LIMIT = 1024
LONGEST = 4096
MEMO_LIMIT = 128 * 1024


class Encoder:
    """One direction's table. A block must be sent in the order in which it was encoded."""

    __slots__ = (
        "entries",
        "epoch",
        "index",
        "inserted",
        "known",
        "learnt",
        "limit",
        "lowest",
        "memo_size",
        "seen",
        "table_size",
        "unique_head",
        "unique_name",
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
        #: How often a field was coded as it won't be the next time: new, or inserted.
        self.learnt = 0
        #: Hashes of fields that were seen once.
        self.seen: set[int] = set()
        #: How fields are coded while the table stays as it is, and what stands for that
        #: time where sections remember how they are.
        self.known: dict[Field, bytes] = {}
        self.memo_size = 0
        self.epoch = object()
        #: The name of the unique field, and how it is coded.
        self.unique_name = b""
        self.unique_head = b""

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
        self.memo_size = 0
        self.epoch = object()

    def encode(self, section: Section, unique: Field | None = None) -> bytes:
        """The block for a section, which must be sent next.

        unique: a last field that never comes back, such as a request's id: it is
        coded as it is, so that what is known of the others stays of use.
        """
        around = section.around
        coded = around.coded.get(self.epoch)
        if coded is None or self.lowest is not None:
            coded = self.code(around)
        before, after = coded
        if unique is None:
            return before + section.path + after
        name, value = unique
        if name != self.unique_name:
            self.unique_name = name
            self.unique_head = literal(name, b"", 0x00, 4)[:-1]
        text = bytes((len(value),)) + value if len(value) < SHORT else write_string(value)
        return b"".join((before, section.path, after, self.unique_head, text))

    def code(self, around: Around) -> Coded:
        """The same of what is around a :path; remembered there, if it would be the same
        the next time.
        """
        announced = b"" if self.lowest is None else self.announce()
        learnt = self.learnt
        before, after = self.parts(around.before), self.parts(around.after)
        if announced:
            return announced + before, after
        if self.learnt == learnt and len(before) + len(after) <= LONGEST:
            around.keep(self.epoch, (before, after))
        return before, after

    def parts(self, fields: Sequence[Field]) -> bytes:
        """Fields, one after the other."""
        parts = []
        known = self.known.get
        for field in fields:
            part = known(field)
            parts.append(self.learn(field) if part is None else part)
        return b"".join(parts)

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
            self.learnt += 1
            return literal(name, value, 0x00, 4)
        size = len(name) + len(value) + OVERHEAD
        if self.table_size + size > self.limit:
            return self.note(field, literal(name, value, 0x00, 4))
        self.table_size += size
        self.entries.append(field)
        self.index[field] = self.inserted
        self.inserted += 1
        self.learnt += 1
        # Every index of the dynamic table has moved.
        self.forget()
        return literal(name, value, 0x40, 6)

    def seen_before(self, field: Field) -> bool:
        """Whether this is a second sighting."""
        sighting = hash(field)
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

    def grow(self, size: int) -> None:
        """Account for what is about to be remembered; full memos start over."""
        if self.memo_size + size > MEMO_LIMIT:
            self.forget()
        self.memo_size += size + OVERHEAD
