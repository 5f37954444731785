"""What a request's body goes through on its way to the endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from waypoint.holds import FILTERS
from waypoint.layers.headers import CHUNKED, Field
from waypoint.routing.edits import without

if TYPE_CHECKING:
    from waypoint.exchange import Exchange
    from waypoint.filters.verdicts import Asked
    from waypoint.plan import Plan

#: Left out where a body's length is known no more.
LENGTH = frozenset({b"content-length"})


class Intake(Protocol):
    """Gets a request's body piece by piece, once all filters let the request pass, and
    gives it to the pass_… of its Intakes, at once or later, with itself as the first
    argument. While it is behind it holds the client (Intakes.hold), lest it fills.
    """

    def data(self, data: bytes, *, end: bool) -> None:
        """Content; end: there is no more, and no trailers."""

    def trailers(self, fields: list[Field]) -> None:
        """Trailers, which end the request."""

    def close(self) -> None:
        """The exchange is over; nothing more may be passed on."""


class Intakes:
    """The intakes of one exchange, in the order of their filters."""

    __slots__ = ("behind", "exchange", "row")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.row: list[Intake] = []
        #: Those that hold the client.
        self.behind: list[Intake] = []

    def data(self, data: bytes, *, end: bool) -> None:
        """Content from the client."""
        if self.row:
            self.row[0].data(data, end=end)

    def trailers(self, fields: list[Field]) -> None:
        """Trailers from the client."""
        if self.row:
            self.row[0].trailers(fields)

    def hold(self, intake: Intake) -> None:
        """An intake takes no more for now."""
        if intake not in self.behind:
            self.behind.append(intake)
            self.exchange.down.hold(FILTERS)

    def release(self, intake: Intake) -> None:
        """It does again."""
        if intake in self.behind:
            self.behind.remove(intake)
            if not self.behind and not self.exchange.over:
                self.exchange.down.release(FILTERS)

    def close(self) -> None:
        """Nothing goes through them any more."""
        row, self.row = self.row, []
        for intake in row:
            intake.close()

    def pass_data(self, intake: Intake, data: bytes, *, end: bool) -> None:
        """Pass content on."""
        following = self.after(intake)
        if following is not None:
            following.data(data, end=end)
        elif not self.exchange.over:
            self.exchange.take_data(data, end=end)

    def pass_trailers(self, intake: Intake, fields: list[Field]) -> None:
        """Pass trailers on."""
        following = self.after(intake)
        if following is not None:
            following.trailers(fields)
        elif not self.exchange.over:
            self.exchange.take_trailers(fields)

    def after(self, intake: Intake) -> Intake | None:
        """The one after an intake, or None: the endpoint is next."""
        index = self.row.index(intake) + 1
        return self.row[index] if index < len(self.row) else None


def unsized(plan: Plan, asked: Asked) -> tuple[Plan, Asked]:
    """The same for a body whose length is known no more."""
    head = plan.head._replace(body=CHUNKED, forward=None)
    fields = without(asked.request.fields, LENGTH)
    request = asked.request._replace(fields=fields)
    return plan._replace(head=head), asked._replace(request=request)
