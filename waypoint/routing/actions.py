"""What may be done with a request, as data."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate

from waypoint.errors import RouteError
from waypoint.resilience.retry import RetryPolicy
from waypoint.routing.conditions import ALL, Fraction
from waypoint.routing.edits import NO_EDITS, Edits
from waypoint.routing.hashing import HashPolicy
from waypoint.routing.limits import RateLimit
from waypoint.routing.rewrites import HostRewrite, PathRewrite
from waypoint.routing.session import Session


@dataclass(frozen=True, slots=True)
class WeightedCluster:
    """A cluster's name, ``outbound|<port>|<subset>|<hostname>``, and its share.

    Its edits come before those of the route; authority: what requests get that go
    there, unless the route rewrites it; None: what they have.
    """

    name: str
    weight: int
    request_edits: Edits = NO_EDITS
    response_edits: Edits = NO_EDITS
    authority: bytes | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """Copies for a cluster whose answers nobody waits for.

    suffix: the copies' host says ``-shadow`` (before its port).
    """

    cluster: str
    fraction: Fraction = ALL
    suffix: bool = True


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the request on.

    timeout: seconds from the whole request to the whole response, retries included;
    idle_timeout: seconds in which nothing moves (None: whatever holds elsewhere, 0.0:
    none); stream_limit: seconds that the exchange may last (None, 0.0 alike);
    request_timeout: seconds in which the whole request must have come; None for the
    others: no limit. max_grpc_timeout: the most that grpc-timeout may ask for, in place of
    timeout; None: the header is ignored, 0.0: it may ask for anything.
    not_found: the status where the chosen cluster's name leads to nothing.
    upgrades: protocols, in lower case. limits, host_limits: what requests count as for
    rate limits, by the route and by its virtual host; include_host_limits: by both.
    session: what keeps clients with their endpoints.
    """

    clusters: tuple[WeightedCluster, ...]
    timeout: float | None = None
    not_found: int = 503
    idle_timeout: float | None = None
    stream_limit: float | None = None
    request_timeout: float | None = None
    max_grpc_timeout: float | None = None
    retry: RetryPolicy | None = None
    mirrors: tuple[Mirror, ...] = ()
    hash_policy: tuple[HashPolicy, ...] = ()
    path: PathRewrite | None = None
    host: HostRewrite | None = None
    tell_forwarded_host: bool = False
    upgrades: frozenset[str] = frozenset()
    limits: tuple[RateLimit, ...] = ()
    host_limits: tuple[RateLimit, ...] = ()
    include_host_limits: bool = False
    session: Session | None = None
    bounds: tuple[int, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        bounds = tuple(accumulate(cluster.weight for cluster in self.clusters))
        if not bounds or bounds[-1] <= 0:
            raise RouteError("weighted_clusters: the weights add up to 0")
        object.__setattr__(self, "bounds", bounds)

    def choose(self, drawn: float) -> int:
        """The index of the cluster for a number drawn from [0, 1)."""
        if len(self.clusters) == 1:
            return 0
        return bisect_right(self.bounds, int(drawn * self.bounds[-1]))


@dataclass(frozen=True, slots=True)
class Redirect:
    """Send the client elsewhere; what is None stays as the client has it.

    path: replaces the request's, and its query too where it has one itself;
    rewrite: makes a path of the request's, where there is no such path.
    """

    status: int = 301
    scheme: bytes | None = None
    host: bytes | None = None
    port: int | None = None
    path: bytes | None = None
    rewrite: PathRewrite | None = None
    strip_query: bool = False


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """Answer without asking anybody."""

    status: int
    body: bytes = b""


Action = Forward | Redirect | DirectResponse
