"""What routes say, as frozen values that the Gateway API's and Istio's kinds share.

match      everything of it must hold for a request
rule       one of its matches leads to an action: backends, a redirect or an answer
edits      what happens to headers of a request and of its response
backend    a service that gets a share of a rule's requests
source     whose requests are meant: proven namespaces, labels of the workload
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from deploy.standalone.control.objects import Labels
from deploy.standalone.control.problems import Origin


class MatchKind(StrEnum):
    """How a text is matched; SEGMENTS counts whole path segments."""

    EXACT = "exact"
    PREFIX = "prefix"
    SEGMENTS = "segments"
    REGEX = "regex"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class TextMatch:
    """A text to match; a regular expression matches the whole of it."""

    kind: MatchKind
    value: str = ""
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class FieldMatch:
    """A header or query parameter to match; inverted: or one that must not."""

    name: str
    text: TextMatch
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class ClaimMatch:
    """A claim of a request's token to match, by the names that lead to it; inverted: or
    one that must not. A list matches when one of its elements does.
    """

    path: tuple[str, ...]
    text: TextMatch
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """Whose requests are meant: of one of the namespaces (() for all), with the labels."""

    namespaces: tuple[str, ...] = ()
    labels: Labels = field(default_factory=dict)


ANYONE = Source()


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """Everything of it must match. rank: what sorts it before others, lowest first.

    headers: HTTP/2's pseudo headers among them; claims: of a token that was found good;
    port: 0 for all of the service's.
    """

    path: TextMatch = TextMatch(MatchKind.SEGMENTS, "/")
    headers: tuple[FieldMatch, ...] = ()
    query: tuple[FieldMatch, ...] = ()
    source: Source = ANYONE
    claims: tuple[ClaimMatch, ...] = ()
    port: int = 0
    rank: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """Headers that are replaced, added to and taken away, names as written."""

    replaced: tuple[tuple[str, str], ...] = ()
    added: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Edits:
    """What happens to a request on its way, and to its response."""

    request: HeaderEdits = HeaderEdits()
    response: HeaderEdits = HeaderEdits()


NO_EDITS = Edits()


@dataclass(frozen=True, slots=True)
class BackendRef:
    """A service to send a share of the requests to.

    host: its full name; name: as written; port: 0 for the only one, or the one that
    was asked for; kind: of the object that is named; authority: a new Host for its
    share; path: its place, for errors.
    """

    namespace: str
    name: str
    host: str
    port: int
    weight: int
    origin: Origin = field(compare=False)
    path: str = field(compare=False)
    kind: str = "Service"
    subset: str = ""
    edits: Edits = NO_EDITS
    authority: str = ""


class PathEditKind(StrEnum):
    """What of a path is replaced: all of it, the prefix that matched, or a pattern."""

    FULL = "full"
    PREFIX = "prefix"
    SEGMENTS = "segments"
    REGEX = "regex"


@dataclass(frozen=True, slots=True)
class PathEdit:
    """A change of a path. pattern: for REGEX, where value may name its groups."""

    kind: PathEditKind
    value: str
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """An answer that sends the client elsewhere; what is empty stays as it was.

    port: 0 for the scheme's own, where from_request isn't set: the one it asked.
    """

    status: int
    scheme: str = ""
    host: str = ""
    port: int = 0
    from_request: bool = False
    path: PathEdit | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A response without a backend."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of some requests, whose answer nobody reads. share: of a million."""

    backend: BackendRef
    share: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Fault:
    """Requests held for so many seconds (0: none), and answered with an HTTP status (0:
    none) or a gRPC one; delayed, aborted: shares of a million.
    """

    delay: float = 0.0
    delayed: int = 0
    status: int = 0
    grpc: int | None = None
    aborted: int = 0


@dataclass(frozen=True, slots=True)
class Cors:
    """What pages of other origins may ask for. max_age: seconds; None: not said."""

    origins: tuple[TextMatch, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age: float | None = None
    credentials: bool | None = None
    forward_unmatched: bool | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and why, a request is sent again. Times in seconds, 0 for none said.

    remote: a retry may go to endpoints that are further away.
    """

    attempts: int = 2
    on: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()
    backoff: float = 0.0
    remote: bool = False
    avoid_previous: bool = True


#: Istio's, for routes that say nothing: what was provably not processed.
DEFAULT_ON = (
    "connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes",
)  # fmt: skip
DEFAULT_RETRY = Retry(on=DEFAULT_ON)


@dataclass(frozen=True, slots=True)
class Persistence:
    """What keeps a client with its endpoint: a cookie, or a header that it sends back.

    name: empty for one made of the route's; lifetime: of the cookie in seconds, 0 for as
    long as the client likes; idle: seconds without a request that end it, 0 for none.
    """

    name: str = ""
    header: bool = False
    lifetime: float = 0.0
    idle: int = 0


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One of the matches leads to the action. Times in seconds, 0 for none.

    action: None for the backends; authority, path: what they become on the way;
    delegate: namespace and name of the VirtualService whose rules are in its place.
    """

    matches: tuple[RouteMatch, ...]
    backends: tuple[BackendRef, ...] = ()
    action: Redirect | Answer | None = None
    name: str = ""
    timeout: float = 0.0
    try_timeout: float = 0.0
    retry: Retry = DEFAULT_RETRY
    edits: Edits = NO_EDITS
    authority: str = ""
    path: PathEdit | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None
    delegate: tuple[str, str] | None = None
    persistence: Persistence | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class StreamRule:
    """Connections that go to the backends. names: of TLS servers, () for all; port: 0 too."""

    backends: tuple[BackendRef, ...]
    names: tuple[str, ...] = ()
    port: int = 0
