"""Headers: texts by names in any case, in their order, several of a name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tandem.plugins.errors import FilterError

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
NO_VALUE = re.compile(r"[\x00\r\n]")
#: Of one hop, or how long a body is: the waypoint's to say.
RESERVED = frozenset(
    {
        "connection", "content-length", "host", "keep-alive", "proxy-connection", "te",
        "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
#: Headers of a message at most, and characters of a name and value.
MOST = 200
LONGEST = 16 * 1024


class Headers:
    """A message's headers. Names are in lower case; each character of a value is a byte
    (ISO 8859-1), as in WSGI.

    What only concerns one connection (``connection``, ``te`` …), ``host`` (that is
    ``request.authority``) and ``content-length`` can't be set: FilterError.
    """

    __slots__ = ("changed", "fields")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self.fields: list[tuple[str, str]] = []
        for name, value in fields:
            self.add(name, value)
        #: Whether anything was set, added or removed since.
        self.changed = False

    @classmethod
    def received(cls, fields: Iterable[tuple[str, str]]) -> Headers:
        """Headers as they came, which needn't be looked at again."""
        made = cls()
        made.fields = [(name, value) for name, value in fields]
        return made

    def get(self, name: str, default: str | None = None) -> str | None:
        """A header's value, several joined by ``", "``; default when there is none."""
        values = self.get_all(name)
        return ", ".join(values) if values else default

    def get_all(self, name: str) -> list[str]:
        """All values of a name, in their order."""
        key = name.lower()
        return [value for found, value in self.fields if found == key]

    def add(self, name: str, value: str) -> None:
        """Add a value beside those that the name has."""
        key = checked_name(name)
        self.fields.append((key, checked_value(key, value)))
        self.changed = True
        if len(self.fields) > MOST:
            raise FilterError(f"more than {MOST} headers")

    def remove(self, name: str) -> None:
        """Remove a name with all its values, if it is there."""
        key = checked_name(name)
        left = [field for field in self.fields if field[0] != key]
        if len(left) != len(self.fields):
            self.fields = left
            self.changed = True

    def items(self) -> list[tuple[str, str]]:
        """Names and values, in their order; a name with several is there several times."""
        return list(self.fields)

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __setitem__(self, name: str, value: str) -> None:
        """Have a name have this value alone."""
        checked_value(checked_name(name), value)
        self.remove(name)
        self.add(name, value)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self.remove(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_all(name))

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self.fields))

    def __len__(self) -> int:
        return len(self.fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.fields == other.fields

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({self.fields!r})"


def checked_name(name: object) -> str:
    """A name in lower case; raises FilterError when it can't be one."""
    if not isinstance(name, str):
        raise FilterError(f"a header's name is a str, not {type(name).__name__}")
    if TOKEN.fullmatch(name) is None or len(name) > LONGEST:
        raise FilterError(f"{name[:80]!r} is no header's name")
    key = name.lower()
    if key in RESERVED:
        hint = ": set request.authority" if key == "host" else ""
        raise FilterError(f"the header {key} is the waypoint's, not a filter's{hint}")
    return key


def checked_value(name: str, value: object) -> str:
    """A value without white space around it; raises FilterError when it can't be one."""
    if not isinstance(value, str):
        raise FilterError(f"the header {name} takes a str, not {type(value).__name__}")
    if NO_VALUE.search(value):
        raise FilterError(f"the header {name} can't have {value[:80]!r}: a line end or NUL")
    if len(value) > LONGEST:
        raise FilterError(f"the header {name} has {len(value)} characters: {LONGEST} at most")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise FilterError(
            f"the header {name} can't have {value[:80]!r}: only characters of ISO 8859-1"
        ) from error
    return value.strip(" \t")
