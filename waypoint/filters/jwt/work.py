"""A request as it is checked, and what good tokens make of it."""

from __future__ import annotations

from typing import Any

from waypoint.filters.jwt.claims import claim_at, header_value, normalized, padded
from waypoint.filters.jwt.places import Found
from waypoint.filters.jwt.settings import Provider, Settings
from waypoint.filters.jwt.status import Status
from waypoint.filters.jwt.token import Token
from waypoint.messages import Request

#: Seconds that a verdict about a token is remembered at most.
LONGEST = 3600.0


class Work:
    """A request as it is checked: its head, which changes, and what is found out.

    now: Unix seconds; seconds: how long all of it holds, None: for ever; rerouted: what
    was added may lead elsewhere; unfit: claims that can't be a header's value.
    """

    __slots__ = (
        "fields", "notes", "now", "path", "request", "rerouted", "seconds", "settings", "unfit",
    )  # fmt: skip

    def __init__(self, settings: Settings, request: Request, now: float) -> None:
        self.settings = settings
        self.request = request
        self.now = now
        self.fields = list(request.fields)
        self.path = request.path
        self.notes: dict[str, Any] = {}
        self.seconds: float | None = None
        self.rerouted = False
        self.unfit = 0

    def changed(self) -> Request | None:
        """The request as it is now, None: as it was."""
        fields = tuple(self.fields)
        if fields == self.request.fields and self.path == self.request.path:
            return None
        return self.request._replace(fields=fields, path=self.path)

    def reserve(self, names: frozenset[bytes]) -> None:
        """Drop headers that only good tokens may bring about."""
        if names:
            self.fields = [field for field in self.fields if field[0] not in names]

    def holds(self, seconds: float) -> None:
        """What was found out holds for so long at most."""
        known = LONGEST if self.seconds is None else self.seconds
        self.seconds = max(0.0, min(known, seconds))

    def accept(self, found: Found, provider: Provider, token: Token) -> None:
        """Do what the provider says with a good token."""
        if provider.payload_header:
            text = padded(token.payload_text) if provider.padded else token.payload_text
            self.fields.append((provider.payload_header, text.encode()))
        for header in provider.claim_headers:
            claim = claim_at(token.payload, header.path)
            value = header_value(claim)
            if value:
                self.fields.append((header.name, value))
                self.rerouted = self.rerouted or provider.clear_route_cache
            elif claim not in (None, ""):
                self.unfit += 1
        if not provider.forward:
            self.fields, self.path = found.place.without(self.fields, self.path)
        if provider.header_note:
            self.notes[provider.header_note] = token.header
        if provider.payload_note:
            payload = normalized(token.payload, provider.space_delimited)
            self.notes[provider.payload_note] = payload
            self.rerouted = self.rerouted or provider.clear_route_cache

    def refuse(self, provider: Provider | None, status: Status) -> None:
        """Note why a token isn't good."""
        if provider is None and len(self.settings.providers) == 1:
            provider = self.settings.providers[0]
        if provider is not None and provider.failure_note:
            said = {"code": status.code, "message": status.text}
            self.notes[provider.failure_note] = said
