"""Waypoints first: nodes hear of what leads to a waypoint once it has taken it.

A node that knew first would send the waypoint connections to something it doesn't know,
which it can only keep waiting. The other way round nothing is lost: a waypoint goes on
serving what has left it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from deploy.standalone.control.ads.session import DeltaSession
from deploy.standalone.control.pods import DesiredPod, PodName
from deploy.standalone.control.translate.resources import ADDRESS_TYPE, Resource
from deploy.standalone.control.view import View

logger = logging.getLogger(__name__)

#: Seconds that a waypoint may take: its back-off, and the time to connect. One that says
#: nothing must not keep from nodes what holds for everybody else.
PATIENCE = 5.0

#: The streams of each pod that is a waypoint.
Streams = Mapping[PodName, Sequence[DeltaSession]]


class Order:
    """Names of Addresses that nodes aren't told of yet.

    held: name → when patience ends; now: seconds, only ever growing.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.held: dict[str, float] = {}

    def hold(self, names: Iterable[str], view: View, streams: Streams) -> None:
        """Hold those of the names back whose waypoint has to take them first."""
        until = self.now() + PATIENCE
        for name in names:
            if not taken(name, view, streams):
                self.held.setdefault(name, until)

    def review(self, view: View, streams: Streams) -> bool:
        """Let go what waypoints have taken, or took too long for; whether there was any."""
        now = self.now()
        late = {name for name, until in self.held.items() if until <= now}
        released = {n for n in self.held if n in late or taken(n, view, streams)}
        for name in released:
            del self.held[name]
        if late:
            logger.warning(
                "%d resources were not taken by their waypoints within %g s, such as %s: "
                "nodes are told of them all the same",
                len(late),
                PATIENCE,
                min(late),
            )
        return bool(released)


def taken(name: str, view: View, streams: Streams) -> bool:
    """Whether each ready pod of the waypoint that a resource names has it as it is now."""
    resource = view.contents.waypoint.get(name)
    if resource is None or resource.waypoint is None:
        return True
    return all(
        has(streams.get(endpoint.owner.full_name, ()), resource)
        for endpoint in view.endpoints.get(resource.waypoint, ())
        if endpoint.ready and isinstance(endpoint.owner, DesiredPod)
    )


def has(sessions: Sequence[DeltaSession], resource: Resource) -> bool:
    """Whether a pod has a resource, in each of its processes."""
    return bool(sessions) and all(
        session.has(ADDRESS_TYPE, resource.name, resource.version) for session in sessions
    )
