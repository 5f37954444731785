"""What can go wrong in the waypoint.

WaypointError
├── RouteError     configuration of routes, filters or clusters that can't be honoured
├── MessageError   an HTTP message that must not be passed on
├── InquiryError   a filter asked somebody and got no answer
├── KeysError      a key set that can't be used (filters.jwt.keys)
├── FetchError     keys that didn't come (filters.jwt.fetch)
└── PluginError    a plug-in failed
"""

from __future__ import annotations


class WaypointError(Exception):
    """Base of all errors of this package."""


class RouteError(WaypointError):
    """A message can't be honoured in full; what is said names the field and the value."""


class InquiryError(WaypointError):
    """Nobody answered what a filter asked."""


class PluginError(WaypointError):
    """A plug-in failed; the message says how. trace: where in its own code, or empty."""

    def __init__(self, reason: str, trace: str = "") -> None:
        super().__init__(reason)
        self.trace = trace


class MessageError(WaypointError):
    """A message is refused.

    status: what a client is answered when the request is at fault; details: the
    access log's RESPONSE_CODE_DETAILS, Envoy's words where it has some.
    """

    def __init__(self, status: int, details: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.details = details
