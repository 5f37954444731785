"""Paths as everybody behind reads them, before routes and filters look: pure.

RFC 3986's dot segments and unreserved characters, backslashes as slashes (Istio's BASE);
and as is asked for, slashes that follow each other, and ``%2F`` and ``%5C``.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import NamedTuple

#: What a segment that needs no change may hold.
PLAIN = rb'[^?/\\%"<>^`{|}]*'
#: What needs no change up to the query: no escape, no backslash, nothing that URLs don't
#: hold as it is, and no segment that begins with a dot.
CLEAN = re.compile(rb"/(?!\.)" + PLAIN + rb"(?:/(?!\.)" + PLAIN + rb")*(?:\?|\Z)")
CLEAN_SINGLE = re.compile(rb"/(?![./])" + PLAIN + rb"(?:/(?![./])" + PLAIN + rb")*(?:\?|\Z)")
CHANGED = re.compile(rb'%([0-9A-Fa-f]{2})|["<>^`{|}]')
SLASHES = re.compile(rb"//+")
ESCAPED = re.compile(rb"%(?:2[Ff]|5[Cc])")
UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class EscapedSlashes(enum.Enum):
    """What becomes of ``%2F`` and ``%5C`` (Envoy's PathWithEscapedSlashesAction)."""

    KEEP = "keep"
    REJECT = "reject"
    REDIRECT = "redirect"
    FORWARD = "forward"


class Normalized(NamedTuple):
    """A path as it goes on; redirect: the client is to ask for that instead."""

    path: bytes
    redirect: bool = False


@dataclass(frozen=True, slots=True)
class Paths:
    """How paths are normalised. The default is Istio's BASE."""

    normalize: bool = True
    merge_slashes: bool = False
    escaped_slashes: EscapedSlashes = EscapedSlashes.KEEP
    clean: re.Pattern[bytes] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "clean", CLEAN_SINGLE if self.merge_slashes else CLEAN)

    def apply(self, path: bytes) -> Normalized | None:
        """A path with its query; None: no server could read it in one way only.

        In Envoy's order: escaped slashes, then the rest, then slashes that follow others.
        """
        if self.clean.match(path) is not None:
            return Normalized(path)
        path, mark, query = path.partition(b"?")
        redirect = False
        if self.escaped_slashes is not EscapedSlashes.KEEP and ESCAPED.search(path):
            if self.escaped_slashes is EscapedSlashes.REJECT:
                return None
            redirect = self.escaped_slashes is EscapedSlashes.REDIRECT
            path = ESCAPED.sub(unescaped_slash, path)
        if self.normalize:
            found = canonical(path)
            # Where decoding makes something that is decoded again (%%32e), the next
            # server would read another path than the one that was decided on.
            if found is None or canonical(found) != found:
                return None
            path = found
        if self.merge_slashes:
            path = SLASHES.sub(b"/", path)
        return Normalized(path + mark + query, redirect)


#: Istio's BASE, where nothing else is configured.
BASE = Paths()


def unescaped_slash(escape: re.Match[bytes]) -> bytes:
    """The slash or backslash that an escape stands for."""
    return b"/" if escape[0][1:2] == b"2" else b"\\"


def canonical(path: bytes) -> bytes | None:
    """A path without dot segments and needless escapes; None: it has a NUL."""
    if b"%00" in path:
        return None
    path = CHANGED.sub(canonical_piece, path.replace(b"\\", b"/"))
    kept: list[bytes] = []
    last = b""
    for segment in path.removeprefix(b"/").split(b"/"):
        # Servers with path parameters read "..;x" as "..".
        last = segment.partition(b";")[0]
        if last == b"..":
            del kept[-1:]
        elif last != b".":
            kept.append(segment)
    if last in {b".", b".."}:
        kept.append(b"")
    return b"/" + b"/".join(kept)


def canonical_piece(piece: re.Match[bytes]) -> bytes:
    """An escape, decoded if it needn't be one; a character that has to be escaped."""
    if piece[1] is None:
        return b"%%%02X" % ord(piece[0])
    character = int(piece[1], 16)
    return b"%c" % character if character in UNRESERVED else piece[0]
