"""One request and its response, from the plan to the access log's line."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from waypoint import replies
from waypoint.access_log import NO_UPSTREAM, connect_failure, line, upstream_part
from waypoint.clusters import Cluster
from waypoint.errors import MessageError
from waypoint.holds import CONNECTING, UPSTREAM
from waypoint.layers.body import BodyReader
from waypoint.layers.response import ResponseHead, closing
from waypoint.plan import Plan
from waypoint.pool import Endpoint
from waypoint.routing import DirectResponse, Forward
from waypoint.upstream import Upstream, connect
from waypoint.worker import Worker

if TYPE_CHECKING:
    from waypoint.downstream import Downstream

BEFORE = "upstream_reset_before_response_started"
AFTER = "upstream_reset_after_response_started"
#: Endpoints that a connection may be tried to, for one request.
CONNECT_ATTEMPTS = 3


class Exchange:
    """Brings a request to an endpoint and the response back.

    It ends in exactly one place, ``end``, which frees the client's connection for
    the next request and writes the log line.
    """

    __slots__ = (
        "body", "cluster", "complete", "down", "endpoint", "failure", "framed", "fresh_only",
        "over", "pending", "plan", "request_id", "responded", "sent", "started", "status",
        "timer", "tried", "up", "upstream", "wall", "worker",
    )  # fmt: skip

    def __init__(
        self, worker: Worker, down: Downstream, plan: Plan, body: BodyReader | None
    ) -> None:
        self.worker = worker
        self.down = down
        self.plan = plan
        self.started = worker.time()
        self.wall = time.time()
        self.request_id = plan.request_id
        self.body = body
        #: Whether the whole request was received.
        self.complete = True
        #: The body's first part, until there is a connection to send it on.
        self.pending = b""
        self.cluster: Cluster | None = None
        self.endpoint: Endpoint | None = None
        self.up: Upstream | None = None
        #: The access log's part on the upstream, and why it couldn't be reached.
        self.upstream = NO_UPSTREAM
        self.failure = "-"
        self.tried: tuple[Endpoint, ...] = ()
        #: A reused connection failed: the next one has to be new.
        self.fresh_only = False
        #: Time of the response head, and its status; 0: there is none yet.
        self.responded = 0.0
        self.status = 0
        #: Whether the response shows where it ends (else it ends by a close).
        self.framed = True
        self.sent = 0
        self.timer: asyncio.TimerHandle | None = None
        self.over = False

    # The request

    def start(self, first: bytes, *, complete: bool) -> None:
        """Do what the route says; first: what there is of the body."""
        self.worker.stats.requests += 1
        self.complete = complete
        self.pending = first
        route = self.plan.route
        if route is None:
            self.answer(404, "NR", "route_not_found", replies.NO_ROUTE)
            return
        action = route.action
        if isinstance(action, DirectResponse):
            self.answer(action.status, "-", "direct_response", action.body)
            return
        clusters = self.plan.clusters
        if len(clusters) == 1:
            self.cluster = clusters[0]
        else:
            self.cluster = clusters[action.choose(self.worker.random())]
        if action.timeout is not None and complete:
            self.start_timer(action)
        self.dispatch(self.cluster)

    def start_timer(self, action: Forward) -> None:
        """The route's timeout runs from the end of the request, retries included."""
        if action.timeout is not None:
            self.timer = self.worker.loop.call_later(action.timeout, self.timed_out)

    def dispatch(self, cluster: Cluster) -> None:
        """Find an endpoint and a connection to it."""
        endpoint = cluster.balance.pick(self.worker.random(), self.tried)
        if endpoint is None:
            self.upstream = upstream_part("-", cluster.name, "-")
            if self.tried:
                self.connect_exhausted()
            elif cluster.known:
                self.answer(503, "UH", "no_healthy_upstream", replies.NO_ENDPOINT)
            else:
                self.answer(self.not_found(), "NC", "cluster_not_found", replies.NO_CLUSTER)
            return
        self.endpoint = endpoint
        upstream = endpoint.take()
        if upstream is None:
            self.connect(endpoint)
        else:
            self.send(upstream)

    def not_found(self) -> int:
        """The status that the route has for a cluster that isn't there."""
        action = self.plan.route.action if self.plan.route else None
        return action.not_found if isinstance(action, Forward) else 503

    def connect(self, endpoint: Endpoint) -> None:
        """Open a connection; what comes of the body meanwhile stays with the client."""
        if not self.complete:
            self.down.hold(CONNECTING)
        self.worker.tasks.spawn(connect(self.worker, endpoint, self), "connect")

    def connected(self, upstream: Upstream) -> None:
        """The connection is there."""
        self.send(upstream)
        self.down.release(CONNECTING)

    def connect_failed(self, endpoint: Endpoint, error: OSError) -> None:
        """Nothing was sent: any other endpoint will do, for any request."""
        self.worker.stats.connect_failures += 1
        self.failure = connect_failure(error)
        self.tried = (*self.tried, endpoint)
        if len(self.tried) >= CONNECT_ATTEMPTS or self.cluster is None:
            self.connect_exhausted()
            return
        self.worker.stats.retries_connect += 1
        self.dispatch(self.cluster)

    def connect_exhausted(self) -> None:
        """No endpoint took a connection."""
        if self.endpoint is not None and self.cluster is not None:
            self.upstream = upstream_part(self.endpoint.label, self.cluster.name, "-")
        details = f"{BEFORE}{{remote_connection_failure|{self.failure}}}"
        self.answer(503, "UF", details, replies.CONNECT_FAILED)

    def send(self, upstream: Upstream) -> None:
        """Send the request, as much of it as there is, in one write."""
        self.up = upstream
        upstream.exchange = self
        cluster = self.cluster
        if upstream.cluster is not cluster and cluster is not None:
            upstream.cluster = cluster
            upstream.part = upstream_part(upstream.endpoint.label, cluster.name, upstream.local)
        self.upstream = upstream.part
        plan = self.plan
        if plan.needs_id:
            self.request_id = identifier = self.worker.ids.next()
            upstream.transport.write(
                b"%bx-request-id: %b\r\n\r\n%b" % (plan.wire, identifier.encode(), self.pending)
            )
        elif self.pending:
            upstream.transport.write(plan.wire + self.pending)
        else:
            upstream.transport.write(plan.wire)
        self.pending = b""

    def pause_request(self) -> None:
        """The endpoint's write buffer is full."""
        self.down.hold(UPSTREAM)

    def resume_request(self) -> None:
        """The endpoint's write buffer has room."""
        self.down.release(UPSTREAM)

    def request_data(self, data: bytes, *, complete: bool) -> None:
        """More of the request's body."""
        if self.up is not None:
            if data:
                self.up.transport.write(data)
        else:
            self.pending += data
        if complete:
            self.complete = True
            route = self.plan.route
            if route is not None and isinstance(route.action, Forward):
                self.start_timer(route.action)

    def request_broken(self, error: MessageError) -> None:
        """The request's body is unsound: neither side can go on."""
        if self.responded:
            self.cut("DPE", error.details)
        else:
            self.answer(error.status, "DPE", error.details, f"{error}\n".encode())

    # The response

    def keeps(self) -> bool:
        """Whether the client's connection may have another request after this.

        Not while the body of this one is still to come: nobody waits for it any
        more, and what comes could be it or a request.
        """
        down = self.down
        if down.close_after or self.worker.draining:
            return False
        return self.complete and self.plan.keep_alive

    def interim(self, head: ResponseHead) -> None:
        """Pass a 1xx response on."""
        self.down.transport.write(head.forward)

    def respond_whole(self, head: ResponseHead, data: bytes, length: int) -> None:
        """A whole response: data, of which the head is the first length bytes."""
        self.status = head.status
        self.sent = len(data) - length
        self.responded = self.worker.time()
        down = self.down
        keep = self.keeps()
        if keep:
            down.transport.write(data if head.verbatim else head.forward + data[length:])
        else:
            down.transport.write(closing(head.forward) + data[length:])
        self.end(keep=keep)

    def respond(self, head: ResponseHead, first: bytes, *, close: bool) -> None:
        """A response's head and the start of its body; close: its end is a close."""
        self.status = head.status
        self.responded = self.worker.time()
        self.framed = not close
        if close or not self.keeps():
            self.down.close_after = True
            self.down.transport.write(closing(head.forward) + first)
        else:
            self.down.transport.write(head.forward + first)

    def respond_data(self, data: bytes) -> None:
        """More of the response's body."""
        self.down.active = True
        self.down.transport.write(data)

    def respond_end(self, sent: int) -> None:
        """The response is complete; sent: its body's bytes."""
        self.sent = sent
        self.end(keep=self.keeps())

    def pause_response(self) -> None:
        """The client's write buffer is full."""
        if self.up is not None:
            self.up.transport.pause_reading()

    def resume_response(self) -> None:
        """The client's write buffer has room."""
        if self.up is not None:
            self.up.transport.resume_reading()

    # Ends

    def upstream_lost(self, *, silent: bool, reused: bool) -> None:
        """The endpoint's connection ended early; silent: before any byte of a response."""
        self.leave_upstream()
        if self.responded:
            details = f"{AFTER}{{connection_termination}}"
            self.cut("UC", details)
            return
        endpoint = self.endpoint
        if reused and silent and not self.fresh_only and endpoint is not None:
            if self.plan.replayable:
                self.fresh_only = True
                self.worker.stats.retries_stale += 1
                self.connect(endpoint)
                return
            self.worker.stats.stale_not_retried += 1
        details = f"{BEFORE}{{connection_termination}}"
        self.answer(503, "UC", details, replies.TERMINATED)

    def upstream_broken(self) -> None:
        """What the endpoint sent is no sound response."""
        if self.responded:
            self.cut("UPE", f"{AFTER}{{protocol_error}}")
        else:
            details = f"{BEFORE}{{protocol_error}}"
            self.answer(502, "UPE", details, replies.BAD_RESPONSE)

    def downstream_lost(self) -> None:
        """The client is gone: so is the need for an answer."""
        self.drop_upstream()
        self.end(keep=False, flags="DC", details="downstream_remote_disconnect")

    def timed_out(self) -> None:
        """The route's timeout."""
        self.timer = None
        if self.responded:
            self.cut("UT", "upstream_response_timeout")
        else:
            self.answer(504, "UT", "upstream_response_timeout", replies.TIMED_OUT)

    def idle_too_long(self) -> None:
        """Nothing moved for an hour."""
        if self.responded:
            self.cut("SI", "stream_idle_timeout")
        else:
            self.answer(504, "SI", "stream_idle_timeout", replies.TIMED_OUT)

    def answer(self, status: int, flags: str, details: str, body: bytes) -> None:
        """Answer ourselves."""
        self.drop_upstream()
        self.status = status
        keep = self.keeps()
        reply, self.sent = replies.local_reply(
            status, body, close=not keep, with_body=not self.plan.is_head
        )
        self.worker.stats.answer(details)
        self.down.transport.write(reply)
        self.end(keep=keep, flags=flags, details=details)

    def cut(self, flags: str, details: str) -> None:
        """Break off a response that has begun, so that the client notices."""
        self.drop_upstream()
        self.down.cut(framed=self.framed)
        self.end(keep=False, flags=flags, details=details)

    def leave_upstream(self) -> None:
        """Let go of the endpoint's connection."""
        if self.up is not None:
            self.up.exchange = None
            self.up = None

    def drop_upstream(self) -> None:
        """Close the endpoint's connection, unfinished as it is."""
        upstream = self.up
        if upstream is not None:
            self.leave_upstream()
            upstream.abort()

    def end(self, *, keep: bool, flags: str = "-", details: str = "via_upstream") -> None:
        """The exchange is over, however it went: log it, free the connection."""
        if self.over:
            return
        self.over = True
        if self.timer is not None:
            self.timer.cancel()
        worker = self.worker
        plan = self.plan
        down = self.down
        route = plan.route
        worker.log.add(
            line(
                start=worker.clock.render(self.wall),
                request=plan.request,
                status=self.status,
                flags=flags,
                details=details,
                failure=self.failure,
                received=self.body.data if self.body is not None else 0,
                sent=self.sent,
                duration=int((worker.time() - self.started) * 1000),
                service_time=str(int((self.responded - self.started) * 1000))
                if self.responded
                else "-",
                agent=plan.agent,
                request_id=self.request_id,
                authority=plan.authority,
                upstream=self.upstream,
                downstream=down.caller.log,
                route=route.name if route is not None else "-",
                peer=down.caller.identity,
            )
        )
        down.finished(keep=keep)
