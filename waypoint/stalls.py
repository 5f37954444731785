"""Clients that neither go on nor go away: what a look at their connection finds.

A head that doesn't get whole, a body that doesn't come, a response that isn't read: each
holds a stream, its buffers and an endpoint's connection. Looks cost requests nothing.
Where a request may stand still for as long as it likes, by its route or because nobody
told how long its body is, only a tight place makes it go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waypoint.errors import MessageError
from waypoint.overload import Level
from waypoint.progress import Mark, marked
from waypoint.routing import Forward
from waypoint.sockets import reset
from waypoint.timeouts import idle_too_long
from ztunnel_compat.h2.codes import ErrorCode
from ztunnel_compat.h2.errors import ConnectionFault

if TYPE_CHECKING:
    from waypoint.downstream import Downstream
    from waypoint.exchange import Exchange
    from waypoint.http2.downstream import Http2Downstream
    from waypoint.worker import Worker


def patience(worker: Worker) -> float:
    """How long a client may stand still now."""
    return worker.limits.stalled * worker.scale


def may_wait(exchange: Exchange) -> bool:
    """Whether it may stand still, as long as there is room for that."""
    if exchange.worker.level is not Level.CALM:
        return False
    route = exchange.plan.route
    action = route.action if route is not None else None
    own = isinstance(action, Forward) and action.idle_timeout is not None
    return own or exchange.tunnel


def due_http1(down: Downstream, now: float) -> float | None:
    """Act on an HTTP/1.1 connection's deadline, or see to it; when to do so again."""
    if down.lingering:
        return due_to_end(down, now)
    worker = down.worker
    idle = worker.limits.idle * worker.scale
    if now < down.deadline:
        if worker.level is not Level.CALM and down.active:
            down.active = False
            down.deadline = min(down.deadline, now + idle)
        look_at_http1(down, now)
    elif down.exchange is None and down.buffer and not down.write_paused:
        down.refuse(MessageError(408, "request_header_timeout", "the head took too long"))
    elif down.active or down.exchange is not None:
        if not down.active and down.exchange is not None:
            idle_too_long(down.exchange)
        down.active = False
        if not down.lingering:
            down.deadline = now + idle
    else:
        down.shut()
    return min(down.deadline, now + worker.limits.look)


def due_to_end(down: Downstream, now: float) -> float | None:
    """Wait for what was written to a closing connection to arrive, but not for ever."""
    if now < down.deadline:
        return down.deadline
    unsent = down.transport.get_write_buffer_size()
    if unsent and unsent != down.unsent:
        down.unsent = unsent
        down.deadline = now + down.worker.limits.flush
        return down.deadline
    down.transport.abort()
    return None


def look_at_http1(down: Downstream, now: float) -> None:
    """See to an HTTP/1.1 client's connection."""
    exchange = down.exchange
    seconds = patience(down.worker)
    if down.write_paused:
        held = exchange is None or not may_wait(exchange)
        if held and Mark(down.paused_at, 0).stuck(now, seconds):
            down.worker.stats.stalled += 1
            if exchange is None:
                reset(down.transport)
            else:
                idle_too_long(exchange)
        return
    if exchange is None or down.ended or down.holds or not owes_body(exchange):
        down.mark = None
        return
    down.mark = marked(down.mark, now, down.received())
    if down.mark.stuck(now, seconds):
        down.worker.stats.stalled += 1
        idle_too_long(exchange)


def owes_body(exchange: Exchange) -> bool:
    """Whether the rest of a request's body has to come soon."""
    if exchange.complete or may_wait(exchange):
        return False
    return exchange.plan.head.body > 0 or exchange.worker.level is not Level.CALM


def look_at_http2(conn: Http2Downstream, now: float) -> None:
    """See to an HTTP/2 client's connection, and each of its streams."""
    worker = conn.worker
    seconds = patience(worker)
    since = conn.http.unfinished_since
    if since is not None and now - since >= worker.limits.head:
        worker.stats.stalled += 1
        conn.http.fail(ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a frame took too long"))
        return
    if conn.paused:
        if Mark(conn.paused_at, 0).stuck(now, seconds):
            worker.stats.stalled += 1
            conn.transport.abort()
        return
    before, conn.marks = conn.marks, {}
    for stream in list(conn.http.streams.values()):
        client = stream.data
        exchange: Exchange | None = client.exchange if client is not None else None
        if stream.queued and (exchange is None or not may_wait(exchange)):
            key, done = (stream.id, True), stream.sent
        elif exchange is not None and not client.holds and owes_body(exchange):
            key, done = (stream.id, False), client.content
        else:
            continue
        mark = conn.marks[key] = marked(before.get(key), now, done)
        if not mark.stuck(now, seconds):
            continue
        worker.stats.stalled += 1
        if exchange is None:
            conn.http.reset(stream, ErrorCode.CANCEL)
            conn.flush_soon()
        else:
            idle_too_long(exchange)
