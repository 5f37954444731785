"""Plans of a connection's requests that differ in their path alone.

Most of such a plan is another's. What a path decides is looked at anew: whether it is
normal, and its route. The rest is taken from a request of the same route before it, where
neither the filters nor the route's edits look at paths.
"""

from __future__ import annotations

from waypoint.layers.request import RequestHead
from waypoint.messages import Request
from waypoint.plan import Keep, Plan
from waypoint.routing import Source
from waypoint.targets import Target

#: Routes whose plan is remembered.
MOST = 16


class Siblings:
    """What is known of requests whose heads differ in their path alone."""

    __slots__ = ("plans", "request", "target")

    def __init__(self) -> None:
        self.target: Target | None = None
        #: One of them, as it was admitted.
        self.request: Request | None = None
        #: By the route's id, which lives as long as its plan.
        self.plans: dict[int, Plan] = {}

    def learn(self, plan: Plan) -> None:
        """Remember a plan that others may be made of."""
        target, route = plan.target, plan.route
        if self.target is not target or len(self.plans) >= MOST:
            self.target = target
            self.plans.clear()
        if plan.pathless and plan.keep is not Keep.NOBODY and not target.table.reads_notes:
            self.request = plan.head.request
            self.plans[id(route)] = plan

    def plan(
        self, path: bytes, target: Target, source: Source, now: float, head: RequestHead | None
    ) -> Plan | None:
        """The plan for one of them; None: nothing is known of it yet.

        source: of the connection; now: by the loop's clock; head: its own, None: it is
        like the others' but for the path.
        """
        like = self.request
        if self.target is not target or like is None:
            return None
        admission = target.chain.admission
        if admission.paths.clean.match(path) is None:
            return None
        if head is None or head.request.fields is not like.fields:
            request = Request._make((like[0], like[1], like[2], path, like[4]))
        else:
            request = head.request
        if admission.head is not None and admission.head.judge(request) is not None:
            return None
        plan = self.plans.get(id(target.table.match(request, source)))
        if plan is None or plan.until <= now:
            return None
        if head is None:
            head = RequestHead._make((request, *plan.head[1:]))
        elif request is not head.request:
            head = head._replace(request=request, forward=None)
        return plan.with_head(head)
