"""From the heads of an HTTP/1.1 connection to plans: remembered, made of another's, or new."""

from __future__ import annotations

from waypoint.layers.request import Block, Blocks, RequestHead, parse_request
from waypoint.plan import Keep, Plan, plan_request
from waypoint.siblings import Siblings
from waypoint.targets import Target
from waypoint.worker import Caller, Worker


class Planner:
    """What one connection remembers of its requests, beside what all of a worker's do."""

    __slots__ = ("blocks", "caller", "family", "last_plan", "last_raw", "memo", "worker")

    def __init__(self, worker: Worker, caller: Caller) -> None:
        self.worker = worker
        self.caller = caller
        self.memo = worker.memo.get
        #: The last head with secrets: remembered here, never beside other clients'.
        self.last_raw = b""
        self.last_plan: Plan | None = None
        self.blocks = Blocks()
        #: The lines that were read last, if these came again, and what is known of requests
        #: of one method that have them.
        self.family: tuple[Block, bytes, Siblings] | None = None

    def plan(self, raw: bytes, target: Target) -> Plan:
        """What to do for a head; raises MessageError."""
        plan = self.memo(raw)
        if plan is None and raw == self.last_raw:
            plan = self.last_plan
            if plan is not None and plan.until <= self.worker.time():
                plan = None
        if plan is not None and plan.target is target:
            return plan
        plan = self.find(parse_request(raw, self.blocks), target)
        if plan.keep is Keep.EVERYBODY and not plan.head.secret:
            self.worker.memo.offer(raw, plan)
        elif plan.keep is not Keep.NOBODY and len(raw) <= self.worker.memo.longest:
            self.last_raw = raw
            self.last_plan = plan
        return plan

    def find(self, head: RequestHead, target: Target) -> Plan:
        """A plan for a head that nobody remembers; mostly another's but for the path."""
        now = self.worker.time()
        source = self.caller.source
        siblings = self.siblings(head.request.method)
        if siblings is not None:
            plan = siblings.plan(head.request.path, target, source, now, head)
            if plan is not None:
                return plan
        return plan_anew(self.worker, self.caller, head, target, siblings)

    def siblings(self, method: bytes) -> Siblings | None:
        """Requests that have the header lines that were read last."""
        block = self.blocks.block
        if block is None:
            return None
        if self.family is None or self.family[0] is not block or self.family[1] != method:
            self.family = block, method, Siblings()
        return self.family[2]

    def forget(self) -> None:
        """Drop what is remembered of routes, which have changed."""
        self.last_raw = b""
        self.last_plan = None
        self.family = None


def plan_anew(
    worker: Worker,
    caller: Caller,
    head: RequestHead,
    target: Target,
    siblings: Siblings | None,
    *,
    http2: bool = False,
) -> Plan:
    """A plan made from nothing, which siblings may be made of; http2: how the client speaks."""
    plan = plan_request(
        head,
        target,
        caller.source,
        caller.facts("HTTP/2" if http2 else "HTTP/1.1"),
        http2=http2,
        drawn=worker.random() if target.table.draws else 0.0,
        now=worker.time(),
    )
    if siblings is not None:
        siblings.learn(plan)
    return plan
