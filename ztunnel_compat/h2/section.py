"""Field sections to be sent, and how each connection codes them.

What is sent often is made once: it remembers its coded form for every connection that it
went out on, as long as that connection's table stays as it is. So what is remembered of a
secret goes with whoever holds the section. Requests mostly differ in their path alone,
which is never indexed: such sections share the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

from ztunnel_compat.h2.literals import write_string
from ztunnel_compat.h2.static import Field

#: Tables for which a section remembers its coded form; beyond them it starts over.
MOST_CODED = 64
#: The first byte of a literal that isn't indexed, named as the static table's :path.
PATH = b"\x04"

Coded = tuple[bytes, bytes]


class Around:
    """The fields before and after a :path, or all of them where there is none.

    coded: by the epoch of an encoder's table.
    """

    __slots__ = ("after", "before", "coded", "pseudo_fields")

    def __init__(self, before: Sequence[Field], after: Sequence[Field] = ()) -> None:
        self.before = before
        self.after = after
        self.coded: dict[object, Coded] = {}
        self.pseudo_fields: dict[bytes, bytes] | None = None

    @property
    def pseudo(self) -> dict[bytes, bytes]:
        """The pseudo-fields but :path."""
        found = self.pseudo_fields
        if found is None:
            fields = (*self.before, *self.after)
            found = self.pseudo_fields = {n: v for n, v in fields if n[:1] == b":"}
        return found

    def keep(self, epoch: object, coded: Coded) -> None:
        """Remember how a table codes it."""
        if len(self.coded) >= MOST_CODED:
            self.coded.clear()
        self.coded[epoch] = coded


class Section:
    """A field section. path: the coded :path, empty where there is none."""

    __slots__ = ("around", "path")

    def __init__(self, around: Around, path: bytes | None = None) -> None:
        self.around = around
        self.path = b"" if path is None else PATH + write_string(path)

    @classmethod
    def of(cls, fields: Sequence[Field]) -> Section:
        """The section of these fields, pseudo-fields first."""
        for place, (name, value) in enumerate(fields):
            if name == b":path":
                return cls(Around(fields[:place], fields[place + 1 :]), value)
            if name[:1] != b":":
                break
        return cls(Around(fields))

    def sibling(self, path: bytes) -> Section:
        """The same with another path; this one has one too."""
        return Section(self.around, path)
