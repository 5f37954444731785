"""One request and its response, from the plan to the access log's line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from waypoint import replies
from waypoint.access_log import NO_UPSTREAM, connect_failure, upstream_part, with_flags
from waypoint.attempts import (
    BEFORE,
    FAILURES,
    again,
    attempt_of,
    goes_again,
    try_timed_out,
)
from waypoint.choice import choose
from waypoint.clusters import Cluster
from waypoint.dispatch import connect, dispatch
from waypoint.ends import ClientSide, ServerSide
from waypoint.errors import MessageError
from waypoint.filters.intakes import Intake, Intakes, unsized
from waypoint.filters.passage import Passage
from waypoint.filters.taps import Tap, Taps
from waypoint.filters.verdicts import Refusal
from waypoint.holds import FILTERS, UPSTREAM
from waypoint.layers.headers import Field
from waypoint.layers.response import ResponseHead, altered, response_of
from waypoint.member import Member
from waypoint.plan import Plan, Way, changed_response, copied, refused, replanned
from waypoint.pool import Endpoint
from waypoint.record import record
from waypoint.replies import TERMINATED, Answer, Failure
from waypoint.resilience.outlier import Outcome
from waypoint.resilience.replay import Replay
from waypoint.resilience.retry import Failure as Failed
from waypoint.resilience.retry import RetryPolicy, per_try
from waypoint.routing import Forward
from waypoint.routing.session import renewed
from waypoint.settling import leave, outcome_of, settle, stop_waiting
from waypoint.shadow import Shadow
from waypoint.timeouts import await_body, expired, start_timer, stop_timers, watch
from waypoint.worker import Worker
from ztunnel_compat.h2.connection import ErrorCode

AFTER = "upstream_reset_after_response_started"


class Exchange:
    """Brings a request to an endpoint and the response back.

    It ends in exactly one place, ``end``, which frees the client's side for the next
    request and writes the log line.
    """

    __slots__ = (
        "answered", "as_it_is", "cluster", "complete", "deadline", "down", "drawn", "early",
        "endpoint", "exhausted", "failure", "flags", "fresh_only", "grpc_status", "hash_key",
        "http2", "idle", "intakes", "kept", "more", "moved", "over", "passage", "pause",
        "pending", "plan", "policy", "raw", "request_id", "responded", "retries", "retrying",
        "sent", "session", "shadows", "started", "status", "taps", "timer", "trailers",
        "tried", "try_timer", "tunnel", "up", "upstream", "visited", "waits", "way", "worker",
        "wrote",
    )  # fmt: skip

    def __init__(self, worker: Worker, down: ClientSide, plan: Plan) -> None:
        self.worker = worker
        self.down = down
        self.plan = plan
        self.started = worker.time()
        self.request_id = plan.request_id
        #: Whether the whole request was received, and the whole response.
        self.complete = True
        self.answered = False
        #: The body's first part, until there is a connection to send it on, and its
        #: trailers; and all of it so far, where the request may be sent again.
        self.pending = b""
        self.trailers: list[Field] = []
        self.kept: Replay | None = None
        self.way: Way | None = None
        #: Fields that the response gets beside its own.
        self.more: tuple[Field, ...] = ()
        self.cluster: Cluster | None = None
        #: Whether the endpoint is spoken to in HTTP/2, and whether the request's body
        #: goes there in the framing that it came in.
        self.http2 = False
        self.raw = down.raw
        #: What decides between a route's clusters, once it is known; the access log's
        #: flags for what filters did to a request that went on.
        self.drawn: float | None = None
        self.flags: tuple[str, ...] = ()
        #: The filters that are being asked; what the response goes through, and the
        #: request's body; whether the response's may come in HTTP/1.1's framing.
        self.passage: Passage | None = None
        self.taps: Taps | None = None
        self.intakes: Intakes | None = None
        self.as_it_is = down.raw
        #: Where this attempt goes, which counts it as a request of its own; visited: the
        #: last that there was; wrote: of which a byte was sent; waits: for a connection.
        self.endpoint: Member | None = None
        self.visited: Member | None = None
        self.wrote = False
        self.waits = False
        self.up: ServerSide | None = None
        #: The access log's part on the upstream, and why it couldn't be reached.
        self.upstream = NO_UPSTREAM
        self.failure = "-"
        self.tried: tuple[Member, ...] = ()
        #: How often it was sent again, by what policy; whether that is counted against
        #: the cluster's bound; and whether it would have been once more.
        self.policy: RetryPolicy | None = None
        self.retries = 0
        self.retrying = False
        self.exhausted = False
        #: Until it is sent again, and the end of an attempt's own time.
        self.pause: asyncio.TimerHandle | None = None
        self.try_timer: asyncio.TimerHandle | None = None
        #: What requests of one session share, where the route says so.
        self.hash_key: int | None = None
        #: The endpoint that the client had, where the route keeps it there; None: it
        #: doesn't.
        self.session: str | None = None
        #: Copies, whose answers nobody waits for.
        self.shadows: Sequence[Exchange] = ()
        #: A reused connection failed: the next one has to be new.
        self.fresh_only = False
        #: Time of the response head, and its status; 0: there is none yet.
        self.responded = 0.0
        self.status = 0
        self.grpc_status: bytes | None = None
        #: An upgrade was accepted: bytes both ways, each with an end of its own. What
        #: the client sent before that waits: had the endpoint refused, it would read
        #: it as the next request, of somebody else.
        self.tunnel = False
        self.early = b""
        self.sent = 0
        self.timer: asyncio.TimerHandle | None = None
        self.deadline: asyncio.TimerHandle | None = None
        #: Looks whether anything moved, where a route has an idle time of its own.
        self.idle: asyncio.TimerHandle | None = None
        self.moved = False
        self.over = False
        if plan.gate is not None:
            # What filters leave of it may need another framing.
            self.raw = False
        elif plan.ways:
            choose(self, plan)

    @property
    def wall(self) -> float:
        """When it began, in Unix seconds."""
        return time.time() - (self.worker.time() - self.started)

    # The request

    def start(self, first: bytes, *, complete: bool) -> None:
        """Ask the filters, and do what the route says; first: what there is of the body."""
        self.worker.stats.requests += 1
        self.worker.active += 1
        self.complete = complete
        self.pending = first
        plan = self.plan
        if plan.counts:
            self.worker.stats.filter(*plan.counts)
        if plan.gate is None:
            self.go()
            return
        if not complete:
            await_body(self)
        self.passage = Passage(self, plan.gate)
        if self.passage.run():
            self.passed()

    def shed(self, *, complete: bool) -> None:
        """Refuse it, since there is too much under way; for Envoy's clients, in its words."""
        self.worker.stats.requests += 1
        self.worker.active += 1
        self.complete = complete
        self.more = (*self.more, (b"x-envoy-local-overloaded", b"true"))
        self.answer(503, "OM", "overload", replies.OVERLOADED)

    def passed(self) -> None:
        """The filters let it through, as they left it."""
        passage = self.passage
        assert passage is not None
        self.passage = None
        intakes = self.intakes
        asked = passage.asked
        if intakes is not None:
            self.plan, asked = unsized(self.plan, asked)
        if passage.changed or intakes is not None:
            self.plan = replanned(self.plan, asked)
        if self.plan.ways:
            choose(self, self.plan)
        if intakes is None:
            self.go()
            self.down.release(FILTERS)
            return
        first, self.pending = self.pending, b""
        trailers, self.trailers = self.trailers, []
        complete, self.complete = self.complete, False
        self.go()
        self.down.release(FILTERS)
        if first or (complete and not trailers):
            intakes.data(first, end=complete and not trailers)
        if trailers:
            intakes.trailers(trailers)

    def go(self) -> None:
        """Do what the route says."""
        plan = self.plan
        first, complete = self.pending, self.complete
        if plan.own is not None:
            self.say(*plan.own)
            return
        route = plan.route
        if route is None:
            self.answer(404, "NR", "route_not_found", replies.NO_ROUTE)
            return
        action = route.action
        assert isinstance(action, Forward)
        limit = plan.deadline
        if action.stream_limit and (limit is None or action.stream_limit < limit):
            limit = action.stream_limit
        if limit is not None:
            self.deadline = self.worker.loop.call_later(limit, expired, self)
        if action.idle_timeout:
            watch(self, action.idle_timeout)
        if complete:
            if action.timeout is not None or self.timer is not None:
                start_timer(self)
        elif action.request_timeout is not None:
            await_body(self)
        if self.policy is not None and (first or not complete):
            self.kept = Replay(self.worker.replays)
            self.kept.add(first)
        if plan.mirrors:
            self.mirror(first)
        dispatch(self)

    def mirror(self, first: bytes) -> None:
        """Start the copies that the route asks for."""
        assert self.way is not None
        for mirror, cluster in self.plan.mirrors:
            if mirror.fraction.holds(self.worker.random()):
                plan = copied(self.plan, self.way, mirror, cluster)
                shadow = Exchange(
                    self.worker, Shadow(self.down.caller, self.worker.stats), plan
                )
                self.shadows = (*self.shadows, shadow)
                shadow.start(first, complete=self.complete)

    def copy(self, data: bytes, *, end: bool) -> None:
        """More of the body of the request that this copies; what falls behind is left."""
        if self.over:
            return
        assert isinstance(self.down, Shadow)
        if self.down.falls_behind(len(data)):
            self.downstream_lost()
        else:
            self.request_data(data, end=end)

    def moved_to(self, endpoint: Member) -> None:
        """A connection of another endpoint of the cluster became free first."""
        if self.endpoint is not None and self.endpoint is not endpoint:
            self.endpoint.end()
            endpoint.begin()
            self.endpoint = self.visited = endpoint

    def connect_failed(self, endpoint: Endpoint, error: OSError) -> None:
        """Nothing was sent: any other endpoint will do, for any request."""
        self.worker.stats.connect_failures += 1
        self.failure = connect_failure(error)
        leave(self, Outcome.CONNECT_FAILED)
        if again(self, attempt_of(self, Failed.CONNECT), endpoint):
            return
        if self.cluster is not None:
            self.upstream = upstream_part(endpoint.label, self.cluster.name, "-")
        details = f"{BEFORE}{{remote_connection_failure|{self.failure}}}"
        self.answer(503, self.flagged("UF"), details, replies.CONNECT_FAILED)

    # Attempts

    def flagged(self, flags: str) -> str:
        """The log's flags, with Envoy's for retries that came to their end."""
        return f"{flags},URX" if self.exhausted else flags

    def stop_try(self) -> None:
        """An attempt's own time counts no more."""
        if self.try_timer is not None:
            self.try_timer.cancel()
            self.try_timer = None

    def new_id(self) -> str:
        """An id for a request that came without."""
        self.request_id = identifier = self.worker.ids.next()
        return identifier

    def begun(self) -> None:
        """The head was sent, and what there was of the body with it."""
        self.pending = b""
        self.wrote = True
        if self.waits:
            stop_waiting(self)
        policy = self.policy
        if policy is not None and policy.per_try_timeout is not None:
            assert self.plan.route is not None
            assert isinstance(self.plan.route.action, Forward)
            seconds = per_try(policy, self.plan.route.action.timeout)
            if seconds is not None:
                self.try_timer = self.worker.loop.call_later(seconds, try_timed_out, self)

    def pause_request(self) -> None:
        """The endpoint takes no more for now."""
        self.down.hold(UPSTREAM)

    def resume_request(self) -> None:
        """The endpoint has room."""
        self.down.release(UPSTREAM)

    def request_data(self, data: bytes, *, end: bool) -> None:
        """More of the request's body."""
        self.moved = True
        if self.passage is not None:
            self.complete = end
            self.pending += data
            self.passage.more()
        elif self.intakes is not None:
            self.intakes.data(data, end=end)
        else:
            self.take_data(data, end=end)

    def take_data(self, data: bytes, *, end: bool) -> None:
        """More of the request's body, as the endpoint gets it."""
        self.complete = end
        if self.plan.head.upgrade and not self.tunnel:
            self.early += data
            self.down.hold(UPSTREAM)
            return
        if self.kept is not None:
            self.kept.add(data)
        for shadow in self.shadows:
            shadow.copy(data, end=end)
        if self.up is not None:
            self.up.data(data, end=end)
        else:
            self.pending += data
        if end:
            self.request_done()

    def request_trailers(self, fields: list[Field]) -> None:
        """The request ends with trailers."""
        if self.passage is not None:
            self.complete = True
            self.trailers = fields
            self.passage.more()
        elif self.intakes is not None:
            self.intakes.trailers(fields)
        else:
            self.take_trailers(fields)

    def take_trailers(self, fields: list[Field]) -> None:
        """The request ends with trailers, as the endpoint gets them."""
        self.complete = True
        self.trailers = fields
        for shadow in self.shadows:
            if not shadow.over:
                shadow.request_trailers(fields)
        if self.up is not None:
            self.up.trailers(fields)
        self.request_done()

    def request_done(self) -> None:
        """The request is complete."""
        if not self.tunnel:
            start_timer(self)
        elif self.answered:
            self.end(keep=False)

    def request_broken(self, error: MessageError) -> None:
        """The request's body is unsound: neither side can go on."""
        if self.responded:
            self.cut("DPE", error.details)
        else:
            self.answer(error.status, "DPE", error.details, f"{error}\n".encode())

    # The response

    def interim(self, head: ResponseHead) -> None:
        """Pass a 1xx response on."""
        self.down.interim(head)

    def took(self, head: ResponseHead) -> ResponseHead:
        """Note a final response's head; the head as the client gets it."""
        self.status = head.status
        self.responded = self.worker.time()
        self.grpc_status = head.grpc_status
        self.moved = True
        if self.try_timer is not None:
            self.stop_try()
        if self.session is not None:
            self.remind()
        if not self.plan.changes and not self.more:
            return head
        assert self.way is not None
        response = changed_response(response_of(head), self.plan, self.way, self.more)
        return altered(head, response)

    def remind(self) -> None:
        """Have the client remember its endpoint, where it doesn't already."""
        action = self.plan.route.action if self.plan.route is not None else None
        endpoint = self.endpoint
        if endpoint is None or not isinstance(action, Forward) or action.session is None:
            return
        request = self.plan.head.request
        note = renewed(request, action.session, endpoint.label, time.time())
        if note is not None:
            self.more = (*self.more, note)

    def respond_whole(self, head: ResponseHead, data: bytes, length: int) -> None:
        """A whole response: data, of which the head is the first length bytes."""
        if goes_again(self, head):
            return
        if self.taps is not None:
            self.taps.head(head, end=len(data) == length)
            if len(data) > length:
                self.taps.data(data[length:], end=True)
            return
        head = self.took(head)
        self.sent = len(data) - length
        self.end(keep=self.down.whole(self, head, data, length))

    def respond(self, head: ResponseHead, first: bytes, *, raw: bool) -> None:
        """A response's head and what there is of its body; raw: in HTTP/1.1's framing."""
        if self.policy is not None and goes_again(self, head):
            return
        if self.taps is not None:
            self.taps.head(head, end=False)
            if first:
                self.taps.data(first, end=False)
            return
        self.down.respond(self, self.took(head), first, raw=raw)

    def respond_end(self, head: ResponseHead) -> None:
        """A response that has nothing but a head."""
        if goes_again(self, head):
            return
        if self.taps is not None:
            self.taps.head(head, end=True)
        else:
            self.finish_head(head)

    def finish_head(self, head: ResponseHead) -> None:
        """Pass a response on that has nothing but a head."""
        head = self.took(head)
        self.answered = True
        self.down.respond_end(self, head)
        self.end(keep=self.down.keeps(self))

    def add_tap(self, make: Callable[[Taps], Tap]) -> None:
        """Have the response go through a tap, before those that are there already."""
        if self.taps is None:
            self.taps = Taps(self)
            self.as_it_is = False
        self.taps.row.insert(0, make(self.taps))

    def add_intake(self, make: Callable[[Intakes], Intake]) -> None:
        """Have the request's body go through an intake, after those that are there."""
        if self.intakes is None:
            self.intakes = Intakes(self)
        self.intakes.row.append(make(self.intakes))

    def switch(self, head: ResponseHead) -> None:
        """The endpoint accepts the upgrade: from here on it is bytes both ways."""
        self.tunnel = True
        if self.taps is not None:
            self.taps.close()
            self.taps = None
        if not self.plan.http2:
            self.complete = False
        self.kept = None
        self.status = head.status
        self.responded = self.worker.time()
        stop_timers(self)
        self.down.switch(self, head)
        if self.early and self.up is not None:
            self.up.data(self.early, end=self.complete)
            self.early = b""
            self.down.release(UPSTREAM)

    def respond_data(self, data: bytes) -> None:
        """More of the response's body."""
        self.moved = True
        self.down.active = True
        if self.taps is not None:
            self.taps.data(data, end=False)
            return
        if self.tunnel:
            self.sent += len(data)
        self.down.data(data)

    def respond_last(self, data: bytes, sent: int) -> None:
        """The response's end, maybe with the last of its body; sent: its body's bytes."""
        if self.taps is not None:
            self.taps.data(data, end=True)
            return
        self.sent = self.sent + len(data) if self.tunnel else sent
        self.answered = True
        self.down.data(data, end=True)
        if not self.tunnel or self.complete:
            self.end(keep=self.down.keeps(self))

    def respond_trailers(self, fields: list[Field], sent: int) -> None:
        """The response ends with trailers; sent: its body's bytes."""
        if self.taps is not None:
            self.taps.trailers(fields)
            return
        self.sent = sent
        self.finish_trailers(fields)

    def finish_trailers(self, fields: list[Field]) -> None:
        """Pass trailers on."""
        self.answered = True
        self.grpc_status = next((v for n, v in fields if n == b"grpc-status"), None)
        self.down.trailers(fields)
        self.end(keep=self.down.keeps(self))

    def pause_response(self) -> None:
        """The client takes no more for now."""
        if self.up is not None:
            self.up.pause()

    def resume_response(self) -> None:
        """The client has room; a tap that is behind may still hold the endpoint."""
        if self.up is not None and not (self.taps is not None and self.taps.behind):
            self.up.resume()

    # Ends

    def upstream_failed(
        self,
        failure: Failure,
        *,
        silent: bool = False,
        reused: bool = False,
        code: int = ErrorCode.INTERNAL_ERROR,
    ) -> None:
        """The endpoint failed; silent: before any byte of a response; reused: on a
        connection that had worked; code: HTTP/2's word for it.
        """
        if self.up is not None:
            self.up.detach()
            self.up = None
        if self.responded:
            self.cut(failure.flags, f"{AFTER}{{{failure.word}}}", code)
            return
        endpoint = self.endpoint
        if failure is TERMINATED and reused and silent and not self.fresh_only:
            if self.plan.replayable and endpoint is not None:
                self.fresh_only = True
                self.worker.stats.retries_stale += 1
                connect(self, endpoint)
                return
            self.worker.stats.stale_not_retried += 1
        known, outcome = FAILURES[failure]
        leave(self, outcome)
        if again(self, attempt_of(self, known), endpoint):
            return
        details = f"{BEFORE}{{{failure.word}}}"
        self.answer(failure.status, self.flagged(failure.flags), details, failure.body)

    def downstream_lost(
        self, flags: str = "DC", details: str = "downstream_remote_disconnect"
    ) -> None:
        """The client is gone: so is the need for an answer."""
        self.drop_upstream()
        self.end(keep=False, flags=flags, details=details)

    def answer(
        self, status: int, flags: str, details: str, body: bytes, *, grpc: int | None = None
    ) -> None:
        """Answer ourselves; grpc: what a gRPC caller is told, when the status doesn't say."""
        self.drop_upstream()
        if self.plan.grpc:
            answer = replies.grpc_answer(status, body, grpc)
        else:
            answer = replies.plain_answer(status, body)
        self.say(answer, details, flags)

    def refuse(self, refusal: Refusal) -> None:
        """Give the answer of a filter that lets nothing through."""
        self.drop_upstream()
        self.say(*refused(refusal, grpc=self.plan.grpc))

    def say(self, answer: Answer, details: str, flags: str = "-") -> None:
        """Write an answer of our own."""
        if self.more:
            answer = answer._replace(fields=answer.fields + self.more)
        bodiless = self.plan.is_head or answer.status in {204, 304}
        self.status = answer.status
        self.grpc_status = answer.grpc_status
        self.sent = 0 if bodiless else len(answer.body)
        self.worker.stats.answer(details)
        self.end(keep=self.down.answer(self, answer), flags=flags, details=details)

    def cut(self, flags: str, details: str, code: int = ErrorCode.INTERNAL_ERROR) -> None:
        """Break off a response that has begun, so that the client notices."""
        self.drop_upstream()
        self.down.cut(code=code)
        self.end(keep=False, flags=flags, details=details)

    def drop_upstream(self) -> None:
        """Break off what the endpoint does for this, unfinished as it is."""
        up = self.up
        if up is not None:
            self.up = None
            up.abort()

    def end(self, *, keep: bool, flags: str = "-", details: str = "via_upstream") -> None:
        """The exchange is over, however it went: count and log it, free the client's side."""
        if self.over:
            return
        self.over = True
        self.worker.active -= 1
        if self.timer or self.deadline or self.idle or self.pause or self.try_timer:
            stop_timers(self)
        if self.passage is not None:
            self.passage.cancel()
        if self.taps is not None:
            self.taps.close()
        if self.intakes is not None:
            self.intakes.close()
        if self.endpoint is not None:
            status = self.status
            if self.grpc_status is not None:
                status = outcome_of(status, self.grpc_status)
            leave(self, status if self.responded else None)
        if self.retrying or self.kept is not None or self.shadows:
            settle(self)
        if self.up is not None:
            # A tunnel whose ends have both come: what was written still goes out.
            self.up.close()
            self.up = None
        if self.down.logged:
            record(self, with_flags(flags, self.flags) if self.flags else flags, details)
        self.down.finished(keep=keep)
