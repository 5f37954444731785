"""A destination that routes name: who may get its requests, and what it bears."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from waypoint.balance import ATTEMPTS, Balance, Candidate, Rules, balancing
from waypoint.balancing.build import hashes
from waypoint.balancing.slices import Slices, at_once
from waypoint.cluster_settings import DEFAULTS, ClusterSettings, Protocol
from waypoint.member import Member
from waypoint.resilience.breakers import Breakers
from waypoint.resilience.health import Checked, Result
from waypoint.resilience.outlier import Outliers
from ztunnel_compat.istio_labels import Labels, called
from ztunnel_compat.model import Extension, Locality, Workload

if TYPE_CHECKING:
    from waypoint.exchange import Exchange
    from waypoint.upstream import Upstream

NOWHERE = Locality()


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a member is and what it counts; priority: without gaps from 0 up.

    workload: what it is the address of.
    """

    weight: int = 1
    priority: int = 0
    locality: Locality = NOWHERE
    workload: Workload | None = None


class Cluster:
    """A destination by name, ``outbound|<port>|<subset>|<hostname>``.

    known: the name leads to a service or workload. speaks: whether the service's port
    says HTTP/2 or HTTP/1.1, None: it doesn't. source: what settings were made of;
    error: why newer ones aren't in force, or empty. now and drawn: a clock and random
    numbers from [0, 1). later: has a step called until it answers True, None: nobody
    does, and tables of hashes are made when they are asked for.
    """

    __slots__ = (
        "breakers", "building", "called", "current", "drawn", "error", "hostname", "http2",
        "known", "later", "localities", "members", "name", "namespace", "now", "outliers",
        "port", "queue", "settings", "source", "speaks", "stale", "subset", "traffic", "users",
    )  # fmt: skip

    def __init__(
        self,
        namespace: str,
        name: str,
        port: int,
        hostname: str,
        *,
        subset: str = "",
        now: Callable[[], float],
        drawn: Callable[[], float],
        later: Callable[[Callable[[], bool]], None] | None = None,
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.port = port
        self.hostname = hostname
        self.subset = subset
        self.now = now
        self.drawn = drawn
        self.later = later
        self.known = False
        #: The labels of its service, as metrics have them.
        self.called: Labels = called(None)
        self.speaks: bool | None = None
        #: Whether its endpoints are spoken to in HTTP/2; None: as the client speaks.
        self.http2: bool | None = None
        self.source: Extension | None = None
        self.error = ""
        self.settings: ClusterSettings = DEFAULTS
        self.members: dict[tuple[str, int], Member] = {}
        #: Localities' weights, None: they don't count.
        self.localities: Mapping[Locality, int] | None = None
        #: None: something has changed since, so that it has to be made anew.
        self.current: Balance[Member] | None = None
        #: The next one, while it is made in slices; and whether it is old already.
        self.building: Slices[Balance[Member]] | None = None
        self.stale = False
        self.breakers = Breakers(DEFAULTS.breakers)
        #: Requests that wait for one of as many connections as there may be.
        self.queue: deque[Exchange] = deque()
        self.outliers = Outliers(None, drawn, self.changed)
        #: Whether it ever had a request.
        self.traffic = False
        #: How many route tables name it.
        self.users = 0

    def speak(self, *, http2: bool | None) -> None:
        """What its service's port says, where the settings don't."""
        self.speaks = http2
        match self.settings.http.protocol:
            case Protocol.HTTP1:
                self.http2 = False
            case Protocol.HTTP2:
                self.http2 = True
            case Protocol.DOWNSTREAM:
                self.http2 = None
            case None:
                self.http2 = http2

    @property
    def balance(self) -> Balance[Member]:
        """Who may be chosen now."""
        if self.current is None:
            # One that is being made is old where more has changed.
            building = self.building if not self.stale else None
            self.current = at_once(building or self.begin())
            self.building, self.stale = None, False
        return self.current

    def begin(self) -> Slices[Balance[Member]]:
        """Start to put a balance together, of what there is now."""
        settings = self.settings
        candidates = [
            Candidate(member, member.priority, member.locality, member.healthy)
            for member in self.members.values()
        ]
        rules = Rules(settings.policy, settings.panic, self.localities, self.now, self.drawn())
        return balancing(candidates, rules)

    def step(self) -> bool:
        """Make a little more of the next balance; whether there is no more to make."""
        if self.building is None:
            return True
        try:
            next(self.building)
        except StopIteration as done:
            self.current = done.value
            self.building = self.begin() if self.stale else None
            self.stale = False
        return self.building is None

    def pick(
        self,
        drawn: float,
        hash_key: int | None = None,
        tried: Collection[object] = (),
        attempts: int = ATTEMPTS,
    ) -> Member | None:
        """An endpoint for a request that wasn't tried; None: there is none.

        drawn: a random number from [0, 1); hash_key: what requests of one session
        share. Where all were tried and another try is wanted, ask without tried.
        """
        balance = self.current or self.balance
        if balance.only is not None and not tried and self.building is None:
            return balance.only.pick(drawn, hash_key)
        member = balance.pick(drawn, tried, hash_key, attempts)
        if self.building is not None and member is not None and not member.users:
            # An old table in force: whoever has left it by now was as good as tried.
            gone = [other for other in balance.endpoints if not other.users]
            member = balance.pick(drawn, (*tried, *gone), hash_key, attempts)
        return member

    def member(self, label: str) -> Member | None:
        """The member of this address and port, None: it is none."""
        host, _, port = label.rpartition(":")
        number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
        return self.members.get((host.strip("[]"), number))

    def take_idle(self, tried: Collection[object]) -> Upstream | None:
        """An idle HTTP/1.1 connection to a member that wasn't tried, or None."""
        for member in self.members.values():
            upstream = None if member in tried else member.take()
            if upstream is not None:
                return upstream
        return None

    def next_waiting(self) -> Exchange | None:
        """The request that has waited longest for a connection, if any still does."""
        while self.queue:
            exchange = self.queue.popleft()
            if exchange.waits:
                return exchange
        return None

    def changed(self) -> None:
        """Who may be chosen is to be looked at again.

        Tables of hashes take long to make: the old one holds until the next is there.
        """
        if self.later is None or not hashes(self.settings.policy):
            self.current = self.building = None
        elif self.building is not None:
            self.stale = True
        else:
            self.building = self.begin()
            self.later(self.step)

    def configure(self, settings: ClusterSettings) -> None:
        """Other settings from now on; counts and ejections stay."""
        if settings == self.settings:
            return
        checks_differ = settings.checks != self.settings.checks
        self.settings = settings
        self.speak(http2=self.speaks)
        self.breakers.adjust(settings.breakers)
        self.outliers.adjust(settings.outlier)
        if checks_differ:
            for member in self.members.values():
                self.watch(member)
        self.changed()

    def watch(self, member: Member) -> None:
        """Check a member from now on, or no longer."""
        now = self.now()
        member.checks = tuple(
            Checked(settings, now, self.drawn()) for settings in self.settings.checks
        )

    def check(self, member: Member, checked: Checked, result: Result) -> None:
        """Take in what a check of a member came to, unless it is checked otherwise by now."""
        if checked not in member.checks or not member.users:
            return
        now = self.now()
        before = member.passes
        checked.result(result, now, self.drawn(), traffic=self.traffic)
        if result is Result.GOOD and member.passes:
            self.outliers.checked_healthy(member.monitor)
        if member.passes is not before:
            if member.passes:
                member.since = now
            self.changed()

    def place(
        self,
        spots: Mapping[tuple[str, int], Spot],
        localities: Mapping[Locality, int] | None,
    ) -> None:
        """Have these members, by address and port, keeping those that stay."""
        for key in self.members.keys() - spots.keys():
            member = self.members.pop(key)
            member.users = 0
            self.outliers.remove(member.monitor)
            member.retire()
        for key, spot in spots.items():
            found = self.members.get(key)
            if found is None:
                found = self.members[key] = Member(self, *key, since=self.now())
                self.outliers.add(found.monitor)
                self.watch(found)
            found.weight = spot.weight
            found.priority = spot.priority
            found.locality = spot.locality
            found.workload = spot.workload
        self.localities = localities
        self.changed()

    def dump(self) -> dict[str, object]:
        """What to know of it, JSON-able."""
        return {
            "known": self.known,
            "policy": str(self.settings.policy),
            "error": self.error,
            "breakers": self.breakers.dump(),
            "endpoints": {member.label: member.dump() for member in self.members.values()},
        }
