"""The base class of filters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, ClassVar

from tandem.plugins.messages import Request, Response


class Direction(StrEnum):
    """Whose body: the request's, or the response's."""

    REQUEST = "request"
    RESPONSE = "response"


class Filter:
    """A filter. Define of the three methods what you need: the others cost nothing.

    One instance serves all requests of a waypoint's worker process, one call at a time;
    workers have instances of their own, and a new one is made when the configuration
    changed or the process that filters run in had to be started anew: what must last
    belongs elsewhere. An exception, or a call over its time, is a failure: by the
    object's failStrategy the request is refused (500), or goes on without this filter.

    Filters run in a process without network and without files but Python's own; they can
    start neither threads nor processes, and a call is ended when it takes too long. What
    they print goes to the waypoint's log, a few lines of each call.
    """

    #: Bytes of a request's body that on_request wants to see, whole, as request.body;
    #: a request with more is refused with 413. 0: it isn't waited for.
    body_limit: ClassVar[int] = 0
    #: Whose bodies on_body sees.
    bodies: ClassVar[Collection[Direction]] = (Direction.REQUEST, Direction.RESPONSE)

    def __init__(self, config: Mapping[str, Any]) -> None:
        """config: the object's ``spec.config``, or {}. Raise to refuse it: then the last
        good configuration stays in force.
        """
        self.config = config

    def on_request(self, request: Request) -> Response | None:
        """A request came: change it, or answer it by a Response. None: it goes on."""

    def on_response(self, request: Request, response: Response) -> None:
        """The service answered: change status and headers.

        Not called for answers of the waypoint's own, nor for accepted upgrades.
        """

    def on_body(
        self, request: Request, data: bytes, last: bool, direction: Direction
    ) -> bytes | None:
        """A piece of a body passes, of 64 KiB at most: return what goes on in its place,
        None for the same, b"" for nothing.

        last: there is no more (data may be empty then). Called where there is a body,
        after on_request or on_response; pieces are as they come from the network. Bodies
        that pass here are sent on without a content-length.
        """
