"""What keeps a client with the very endpoint that it had: a note that it carries itself.

A note names an endpoint, which counts only while it is one of the cluster's: nobody can
ask for another by it. So it needs no signature: who forges one keeps itself somewhere.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from typing import NamedTuple

from waypoint.messages import Field, Request
from waypoint.routing.conditions import values_of
from waypoint.routing.hashing import HashCookie, cookie, set_cookie


@dataclass(frozen=True, slots=True)
class Session:
    """Where the note is: in a header or a cookie of this name.

    lifetime: of the cookie and what it says, in seconds; 0: until the client forgets it.
    idle: seconds without a request, after which it is over (Gateway API's idleTimeout);
    0: any time.
    """

    name: bytes
    header: bool = False
    lifetime: int = 0
    path: bytes = b"/"
    idle: int = 0


class Note(NamedTuple):
    """What a client carries: ``label[ until[ seen]]``, in base64.

    label: address:port; until: when it ends, 0: it doesn't say; seen: when it was last
    used, 0: it doesn't say. Times by the clock, in whole seconds.
    """

    label: str
    until: int = 0
    seen: int = 0


def carried(request: Request, session: Session, now: float) -> Note | None:
    """The note that a request carries, while it holds; None: none, or something else."""
    if session.header:
        values = values_of(request, session.name)
        note = values[0] if len(values) == 1 else b""
    else:
        note = cookie(request, session.name)
    try:
        label, *words = base64.b64decode(note, b"-_", validate=True).decode("ascii").split(" ")
    except (binascii.Error, UnicodeDecodeError):
        return None
    if len(words) > 2 or not all(word.isdigit() and len(word) < 16 for word in words):
        return None
    found = Note(label, *map(int, words))
    if not label or (found.until and now >= found.until):
        return None
    # Clocks of several waypoints may differ, but not by as much as that.
    if session.idle and abs(now - found.seen) > session.idle:
        return None
    return found


def remembered(request: Request, session: Session, now: float) -> str:
    """The endpoint that a request wants, as address:port; empty: it doesn't say."""
    found = carried(request, session, now)
    return found.label if found is not None else ""


def renewed(request: Request, session: Session, label: str, now: float) -> Field | None:
    """What the response tells the client to carry, when it went to an endpoint; None: the
    client has that.
    """
    had = carried(request, session, now)
    # Rounded up, so that nobody is cut off before its time.
    seen = math.ceil(now) if session.idle else 0
    until = int(now) + session.lifetime if session.lifetime else 0
    if had is not None and had.label == label:
        if had.seen == seen or not session.idle:
            return None
        until = had.until or until
    return reminder(session, Note(label, until, seen), now)


def reminder(session: Session, note: Note, now: float) -> Field:
    """A response's field with a note."""
    words = [note.label]
    if note.until or note.seen:
        words.append(str(note.until))
    if note.seen:
        words.append(str(note.seen))
    value = base64.b64encode(" ".join(words).encode(), b"-_")
    if session.header:
        return session.name, value
    lifetime = note.until - int(now) if session.lifetime else 0
    return b"set-cookie", set_cookie(HashCookie(session.name, lifetime, session.path), value)
