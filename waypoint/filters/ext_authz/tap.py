"""Changes to a response's head that the authorization server asked for."""

from __future__ import annotations

from waypoint.filters.ext_authz.settings import Change
from waypoint.filters.ext_authz.verdict import edited, settable
from waypoint.filters.taps import Taps
from waypoint.layers.headers import Field
from waypoint.layers.response import ResponseHead, altered, response_of


class ResponseEdits:
    """Changes the head; all else goes on as it comes."""

    def __init__(self, taps: Taps, changes: tuple[Change, ...]) -> None:
        self.taps = taps
        self.changes = settable(changes)

    def head(self, head: ResponseHead, *, end: bool) -> None:
        """Change it."""
        response = response_of(head)
        changed = response._replace(fields=edited(response.fields, self.changes))
        self.taps.pass_head(self, altered(head, changed), end=end)

    def data(self, data: bytes, *, end: bool) -> None:
        """Pass content on."""
        self.taps.pass_data(self, data, end=end)

    def trailers(self, fields: list[Field]) -> None:
        """Pass trailers on."""
        self.taps.pass_trailers(self, fields)

    def close(self) -> None:
        """Nothing is held back."""
