"""Plans of a connection's requests that differ in their path alone.

Most of such a plan is another's. What a path decides is looked at anew: whether it is
normal, and its route. The rest is taken from a request of the same route before it, where
neither the filters nor the route's edits look at paths.
"""

from __future__ import annotations

from waypoint.messages import Request
from waypoint.plan import Keep, Plan
from waypoint.routing import Source
from waypoint.targets import Target
from ztunnel_compat.h2.fields import Fields

#: Routes of a family whose plan is remembered.
MOST = 16


class Siblings:
    """What is known of one family (see ztunnel_compat.h2.memo)."""

    __slots__ = ("plans", "request", "target")

    def __init__(self) -> None:
        self.target: Target | None = None
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

    def plan(self, headers: Fields, target: Target, source: Source, now: float) -> Plan | None:
        """The plan for one of them; None: nothing is known of it yet.

        source: of the connection; now: by the loop's clock.
        """
        like = self.request
        if self.target is not target or like is None or headers.family is None:
            return None
        path = headers[headers.family.place][1]
        if target.chain.admission.paths.clean.match(path) is None:
            return None
        request = Request._make((like[0], like[1], like[2], path, like[4]))
        bounds = target.chain.admission.head
        if bounds is not None and bounds.judge(request) is not None:
            return None
        plan = self.plans.get(id(target.table.match(request, source)))
        if plan is None or plan.until <= now:
            return None
        return plan.with_path(request)


def siblings_of(headers: Fields, *, end: bool) -> Siblings | None:
    """Those of a request, None: it has none. end: it has no body."""
    family = headers.family
    if family is None:
        return None
    notes: list[Siblings] | None = family.note
    if notes is None:
        notes = family.note = [Siblings(), Siblings()]
    return notes[end]
