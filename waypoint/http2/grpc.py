"""A gRPC call: an exchange whose messages are counted, while it lasts and at its end."""

from __future__ import annotations

from waypoint.ends import ClientSide
from waypoint.exchange import Exchange
from waypoint.metrics.messages import Messages
from waypoint.plan import Plan
from waypoint.worker import Worker


class GrpcExchange(Exchange):
    """Counts what the client sends, and what comes from an endpoint that speaks HTTP/2:
    gRPC knows nothing else. (What is called for each message names its base: ``super()``
    is a call more.)
    """

    __slots__ = ("answers", "asks", "told")

    def __init__(self, worker: Worker, down: ClientSide, plan: Plan) -> None:
        Exchange.__init__(self, worker, down, plan)
        self.asks = Messages()
        self.answers = Messages()
        #: What metrics know already of both.
        self.told = (0, 0)
        worker.calls.add(self)

    def request_data(self, data: bytes, *, end: bool) -> None:
        """More of the request's body."""
        self.asks.feed(data)
        Exchange.request_data(self, data, end=end)

    def respond_data(self, data: bytes) -> None:
        """More of the response's body."""
        if self.http2:
            self.answers.feed(data)
        Exchange.respond_data(self, data)

    def respond_last(self, data: bytes, sent: int) -> None:
        """The response's end, maybe with the last of its body; sent: its body's bytes."""
        if self.http2:
            self.answers.feed(data)
        Exchange.respond_last(self, data, sent)

    def tell(self) -> None:
        """Count what came since this was last asked for."""
        asked, answered = self.told
        self.told = (self.asks.count, self.answers.count)
        place = self.visited or self.cluster or self.plan.target.clusters[""]
        self.worker.recorder.called(
            (self.down.caller.client, place),
            self.asks.count - asked,
            self.answers.count - answered,
        )

    def end(self, *, keep: bool, flags: str = "-", details: str = "via_upstream") -> None:
        """The call is over, however it went."""
        if not self.over:
            self.worker.calls.discard(self)
            self.tell()
        Exchange.end(self, keep=keep, flags=flags, details=details)
