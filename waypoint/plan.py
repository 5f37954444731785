"""What happens to a request, decided once and remembered with its head."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

from waypoint.access_log import agent_part, authority_part, quoted, request_part
from waypoint.clusters import Cluster
from waypoint.deadlines import asked_deadline
from waypoint.filters.admission import admit
from waypoint.filters.chain import Gate, Opening, open_chain
from waypoint.filters.verdicts import Asked, Refusal
from waypoint.http2.heads import request_fields
from waypoint.layers.headers import CHUNKED
from waypoint.layers.render import request_wire
from waypoint.layers.request import IDEMPOTENT, RequestHead
from waypoint.messages import Field, Request, Response
from waypoint.replies import Answer, grpc_answer, plain_answer
from waypoint.routing import (
    NO_FACTS,
    NOBODY,
    DirectResponse,
    Facts,
    Forward,
    Mirror,
    Redirect,
    Route,
    RouteTable,
    Source,
    WeightedCluster,
    cors_fields,
    edited,
    mirrored,
    preflight,
    redirection,
    rewritten,
)
from waypoint.routing.edits import replaced
from waypoint.targets import Target
from ztunnel_compat.h2.section import Section
from ztunnel_compat.model import AppProtocol

FOREVER = math.inf
GRPC = re.compile(rb"application/grpc(?:[+;].*)?", re.IGNORECASE)


class Way:
    """A request on its way to a cluster: what is to be written, by the protocol there.

    request: after edits; head: as it came; like: one that differs in its path alone, or
    None.
    """

    __slots__ = ("cluster", "head", "like", "request", "section", "wire")

    def __init__(
        self, cluster: Cluster, request: Request, head: RequestHead, like: Way | None = None
    ) -> None:
        self.cluster = cluster
        self.request = request
        self.head = head
        self.like = like
        #: Both made when they are first needed.
        self.wire: bytes | None = None
        self.section: Section | None = None

    def http1(self) -> bytes:
        """The head, whole when the client sent a request id, else up to where it goes."""
        wire = self.wire
        if wire is None:
            head = self.head
            if head.forward is None or head.upgrade or self.request is not head.request:
                wire = request_wire(self.request, head.body, upgrade=bool(head.upgrade))
            else:
                wire = head.forward
            wire = self.wire = wire if head.request_id is None else wire + b"\r\n"
        return wire

    def http2(self) -> Section:
        """The field section, without the request id that isn't there."""
        section = self.section
        if section is None:
            if self.like is not None:
                section = self.like.http2().sibling(self.request.path)
            else:
                head = self.head
                section = Section.of(
                    request_fields(self.request, trailers=head.trailers, upgrade=head.upgrade)
                )
            self.section = section
        return section


class Keep(Enum):
    """For whom a plan may be remembered beside its head."""

    EVERYBODY = "everybody"
    #: It depends on who asks.
    CONNECTION = "connection"
    #: It depends on chance.
    NOBODY = "nobody"


class Own(NamedTuple):
    """An answer that nobody is asked for, and the access log's words for it."""

    answer: Answer
    details: str
    flags: str = "-"


class Plan(NamedTuple):
    """A request's route, and everything about it that no second look changes.

    ways: to the clusters of a Forward, in its order. request, agent, authority: parts of the
    access log's line; request may be empty, see line. target: as it was then; a plan holds
    only as long as it is that. pathless: requests of this route that differ in their path
    alone have the same plan but for that. own: the answer where nobody is asked. gate: the
    filters that are still to be asked, or None. until: how long it holds, by the loop's
    clock; counts: statistics to count for each request. http2: how the client speaks.
    replayable: sending it twice is the same as once, and there is no body. chunked: its
    body has no length. deadline: seconds that a gRPC caller gives and the route honours,
    or None. mirrors: who gets copies. changes: the response isn't passed on as it comes;
    facts: for that.
    """

    #: What depends on the path comes first, see with_head.
    head: RequestHead
    ways: tuple[Way, ...]
    request: str
    target: Target
    route: Route | None
    own: Own | None
    keep: Keep
    http2: bool
    needs_id: bool
    request_id: str
    is_head: bool
    replayable: bool
    keep_alive: bool
    grpc: bool
    deadline: float | None
    mirrors: tuple[tuple[Mirror, Cluster], ...]
    changes: bool
    facts: Facts
    pathless: bool
    agent: str
    authority: str
    gate: Gate | None = None
    until: float = FOREVER
    counts: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The access log's part on the request."""
        return self.request or request_line(self.head, http2=self.http2)

    def with_head(self, head: RequestHead) -> Plan:
        """The plan of another request of the same route, which differs in its path alone;
        this one is pathless.
        """
        request = head.request
        ways = tuple([Way(way.cluster, request, head, way) for way in self.ways])
        return Plan._make((head, ways, "", *self[3:]))

    @property
    def chunked(self) -> bool:
        """Whether the request's body has no length."""
        return self.head.body == CHUNKED


def plan_request(
    head: RequestHead,
    target: Target,
    source: Source = NOBODY,
    facts: Facts = NO_FACTS,
    *,
    http2: bool = False,
    drawn: float = 0.0,
    now: float = 0.0,
) -> Plan:
    """Ask a target's filters, as far as they need only the head, and route by its table.

    source, facts: of the connection; drawn: a number from [0, 1); now: by the loop's clock.
    """
    admission = target.chain.admission
    grpc = is_grpc(head)
    admitted = admit(head.request, admission, facts.identity, target.identity, grpc=grpc)
    if isinstance(admitted, Refusal):
        plan = routed(head, target, None, facts, http2=http2)
        return plan._replace(own=refused(admitted, grpc=grpc))
    head = changed_head(head, admitted)
    plan = decided(head, target, source, facts, http2=http2, drawn=drawn, now=now)
    if admission.reads_connection and plan.keep is Keep.EVERYBODY:
        return plan._replace(keep=Keep.CONNECTION)
    return plan


def decided(
    head: RequestHead,
    target: Target,
    source: Source,
    facts: Facts,
    *,
    http2: bool,
    drawn: float,
    now: float,
) -> Plan:
    """The plan of a request that was admitted; see plan_request."""
    table = target.table
    route = table.match(head.request, source, drawn)
    if not target.chain.filters:
        return routed(head, target, route, facts, http2=http2)
    asked = Asked(head.request, source, facts, http2=http2, grpc=is_grpc(head))

    def anew(asked: Asked) -> Mapping[str, Any]:
        return table.settings(table.match(asked.request, source, drawn, asked.notes))

    opening = open_chain(
        target.chain, asked, table.settings(route), anew, by_notes=table.reads_notes
    )
    head = changed_head(head, opening.asked.request)
    if opening.reroute or table.reads_notes:
        route = table.match(head.request, source, drawn, opening.notes)
    return routed(head, target, route, facts, http2=http2, opening=opening, now=now)


def replanned(plan: Plan, asked: Asked, drawn: float | None = None) -> Plan:
    """A plan for a request as filters changed it; drawn: its route is looked for anew."""
    head, route = changed_head(plan.head, asked.request), plan.route
    if drawn is not None:
        route = plan.target.table.match(head.request, asked.source, drawn, asked.notes)
    return routed(head, plan.target, route, plan.facts, http2=plan.http2)


def request_line(head: RequestHead, *, http2: bool) -> str:
    """The access log's part on a request."""
    request = head.request
    method = b"CONNECT" if http2 and head.upgrade else request.method
    return request_part(method, request.path, "HTTP/2" if http2 else "HTTP/1.1")


def is_grpc(head: RequestHead) -> bool:
    """Whether a caller is gRPC's."""
    return head.content_type is not None and GRPC.fullmatch(head.content_type) is not None


def changed_head(head: RequestHead, request: Request) -> RequestHead:
    """A head with another request in it, which has to be rendered then."""
    return head if request is head.request else head._replace(request=request, forward=None)


def keep_opened(keep: Keep, opening: Opening) -> Keep:
    """For whom a plan holds, with what its filters said."""
    own = opening.reads_connection or opening.gate is not None
    if keep is Keep.EVERYBODY and (own or opening.seconds < math.inf):
        return Keep.CONNECTION
    return keep


def refused(refusal: Refusal, *, grpc: bool) -> Own:
    """A filter's refusal, as the caller is told."""
    if grpc:
        answer = grpc_answer(refusal.status, refusal.body, refusal.grpc)
        kept = tuple(field for field in refusal.fields if field[0] != b"content-type")
        answer = answer._replace(fields=answer.fields + kept)
    else:
        answer = plain_answer(refusal.status, refusal.body)
        answer = answer._replace(fields=replaced(answer.fields, refusal.fields))
    return Own(answer, refusal.details, refusal.flags)


def routed(
    head: RequestHead,
    target: Target,
    route: Route | None,
    facts: Facts,
    *,
    http2: bool,
    opening: Opening | None = None,
    now: float = 0.0,
) -> Plan:
    """The plan for a route; opening: what filters said of the request, now."""
    request = head.request
    grpc = is_grpc(head)
    own = own_answer(request, route, facts, grpc=grpc) if route is not None else None
    ways: tuple[Way, ...] = ()
    deadline = None
    mirrors: tuple[tuple[Mirror, Cluster], ...] = ()
    if route is not None and own is None and isinstance(route.action, Forward):
        clusters = [target.clusters[c.name] for c in route.action.clusters]
        ways = tuple(
            [
                Way(cluster, rewritten(request, route, index, facts), head)
                for index, cluster in enumerate(clusters)
            ]
        )
        deadline = asked_deadline(request, route.action) if grpc else None
        mirrors = tuple(
            [(mirror, target.clusters[mirror.cluster]) for mirror in route.action.mirrors]
        )
    keep = keep_of(target, route)
    if opening is not None:
        keep = keep_opened(keep, opening)
        if opening.refusal is not None:
            own = refused(opening.refusal, grpc=grpc)
    return Plan(
        target=target,
        head=head,
        route=route,
        ways=ways,
        own=own,
        keep=keep,
        http2=http2,
        needs_id=head.request_id is None,
        request_id=quoted(head.request_id),
        is_head=request.method == b"HEAD",
        replayable=head.body == 0 and not head.upgrade and request.method in IDEMPOTENT,
        keep_alive=head.keep_alive,
        grpc=grpc,
        deadline=deadline,
        mirrors=mirrors if not head.upgrade else (),
        changes=route is not None and changes_response(request, route),
        facts=facts,
        pathless=bool(ways)
        and all(way.request is request for way in ways)
        and (opening is None or opening.pathless),
        request=request_line(head, http2=http2),
        agent=agent_part(head.forwarded_for, head.user_agent),
        authority=authority_part(request.authority),
        gate=opening.gate if opening is not None else None,
        until=now + opening.seconds if opening is not None else FOREVER,
        counts=opening.counts if opening is not None else (),
    )


def copied(plan: Plan, way: Way, mirror: Mirror, cluster: Cluster) -> Plan:
    """The plan for a copy of a request; way: the original's."""
    assert plan.route is not None
    assert isinstance(plan.route.action, Forward)
    forward = Forward((WeightedCluster(mirror.cluster, 1),), plan.route.action.timeout)
    return plan._replace(
        route=Route(plan.route.name, forward),
        ways=(Way(cluster, mirrored(way.request, mirror), plan.head),),
        deadline=None,
        mirrors=(),
        changes=False,
        gate=None,
    )


def inner_plan(request: Request, cluster: Cluster, length: int, *, http2: bool) -> Plan:
    """The plan for a request of the waypoint's own; length: of its body."""
    route = Route("inquiry", Forward((WeightedCluster(cluster.name, 1),)))
    head = RequestHead(
        request=request,
        body=length,
        keep_alive=True,
        secret=True,
        forward=None,
        request_id=b"-",
        user_agent=None,
        forwarded_for=None,
        content_type=request.header(b"content-type"),
        trailers=http2,
    )
    target = Target(
        cluster.name, 0, AppProtocol.HTTP11, RouteTable("inquiry", ()), {cluster.name: cluster}
    )
    return routed(head, target, route, NO_FACTS, http2=http2)


def keep_of(target: Target, route: Route | None) -> Keep:
    """For whom the plan of a route holds."""
    if target.table.draws:
        return Keep.NOBODY
    if target.table.reads_source or (route is not None and route.reads_connection):
        return Keep.CONNECTION
    return Keep.EVERYBODY


def own_answer(request: Request, route: Route, facts: Facts, *, grpc: bool) -> Own | None:
    """What is answered without asking anybody; None: somebody is."""
    if route.cors is not None:
        allowed = preflight(request, route.cors)
        if allowed is not None:
            return Own(Answer(allowed.status, allowed.fields, b""), "cors_response")
    match route.action:
        case Redirect():
            response, body = redirection(request, route.action), b""
        case DirectResponse(status, body):
            if grpc:
                return Own(grpc_answer(status, body), "direct_response")
            plain: tuple[Field, ...] = ((b"content-type", b"text/plain"),)
            response = Response(status, plain if body else ())
        case Forward():
            return None
    response = edited(response, route, 0, request, facts)
    return Own(Answer(response.status, response.fields, body), "direct_response")


def with_cors(fields: tuple[Field, ...], request: Request, route: Route) -> tuple[Field, ...]:
    """A response's fields with what browsers are told; request: as the client sent it."""
    if route.cors is None:
        return fields
    return replaced(fields, cors_fields(request, route.cors))


def changes_response(request: Request, route: Route) -> bool:
    """Whether responses need more than to be passed on."""
    if route.cors is None or not isinstance(route.action, Forward):
        return route.edits_responses
    return route.edits_responses or bool(cors_fields(request, route.cors))


def changed_response(
    response: Response, plan: Plan, way: Way, more: tuple[Field, ...]
) -> Response:
    """A response as the client gets it; more: fields beside what the route says."""
    route = plan.route
    if route is not None and plan.changes:
        index = plan.ways.index(way)
        response = edited(response, route, index, way.request, plan.facts)
        fields = with_cors(response.fields, plan.head.request, route)
        response = response._replace(fields=fields)
    return response._replace(fields=response.fields + more)
