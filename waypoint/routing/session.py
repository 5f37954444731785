"""What keeps a client with the very endpoint that it had: a note that it carries itself.

A note names an endpoint, which counts only while it is one of the cluster's: nobody can
ask for another by it.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from waypoint.messages import Field, Request
from waypoint.routing.conditions import values_of
from waypoint.routing.hashing import HashCookie, cookie, set_cookie


@dataclass(frozen=True, slots=True)
class Session:
    """Where the note is: in a header or a cookie of this name.

    lifetime: of the cookie and what it says, in seconds; 0: until the client forgets it.
    """

    name: bytes
    header: bool = False
    lifetime: int = 0
    path: bytes = b"/"


def remembered(request: Request, session: Session, now: float) -> str:
    """The endpoint that a request wants, as address:port; empty: it doesn't say."""
    if session.header:
        values = values_of(request, session.name)
        note = values[0] if len(values) == 1 else b""
    else:
        note = cookie(request, session.name)
    try:
        text = base64.b64decode(note, b"-_", validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    label, _, until = text.partition(" ")
    expired = until and not (until.isdigit() and len(until) < 16 and now < int(until))
    return "" if expired else label


def reminder(session: Session, label: str, now: float) -> Field:
    """What the response tells the client to carry."""
    until = f" {int(now) + session.lifetime}" if session.lifetime else ""
    note = base64.b64encode(f"{label}{until}".encode(), b"-_")
    if session.header:
        return session.name, note
    made = HashCookie(session.name, session.lifetime, session.path)
    return b"set-cookie", set_cookie(made, note)
