"""What a route asks of a request beside its path: Envoy's semantics."""

from __future__ import annotations

from dataclasses import dataclass, field

from waypoint.messages import Request, Response, pseudo
from waypoint.routing.notes import NO_NOTES, NoteMatch, Notes
from waypoint.routing.source import Source, SourceMatch
from waypoint.routing.text import Kind, TextMatch

GRPC = b"application/grpc"


def values_of(request: Request, name: bytes) -> list[bytes]:
    """A header's values; ``host`` is the authority, and pseudo-headers have one."""
    if name == b"host":
        return [request.authority]
    if name[:1] == b":":
        value = pseudo(request, name)
        return [] if value is None else [value]
    return [value for found, value in request.fields if found == name]


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """A condition on a header, or a pseudo-header such as ``:method``.

    name: in lower case. present: whether it must be there (Kind.PRESENT only).
    One of several values is enough; inverted, none of them may do. A header that is
    missing satisfies nothing, inverted or not, unless it counts as empty.
    """

    name: str
    match: TextMatch
    invert: bool = False
    present: bool = True
    missing_is_empty: bool = False
    key: bytes = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.name.encode())

    def accepts(self, request: Request) -> bool:
        """Whether a request satisfies it."""
        return self.holds(values_of(request, self.key))

    def accepts_response(self, response: Response) -> bool:
        """Whether a response satisfies it."""
        if self.key == b":status":
            return self.holds([b"%d" % response.status])
        return self.holds([value for name, value in response.fields if name == self.key])

    def holds(self, values: list[bytes]) -> bool:
        """Whether a header's values do."""
        if not values and self.missing_is_empty:
            values = [b""]
        if self.match.kind is Kind.PRESENT:
            return (bool(values) is self.present) is not self.invert
        if not values:
            return False
        return any(map(self.match.test, values)) is not self.invert

    def __str__(self) -> str:
        negated = self.invert is not (self.match.kind is Kind.PRESENT and not self.present)
        return f"{self.name} {'not ' * negated}{self.match}"


@dataclass(frozen=True, slots=True)
class QueryMatch:
    """A condition on a query parameter: the first value of its name, as sent."""

    name: str
    match: TextMatch
    present: bool = True

    def accepts(self, query: dict[bytes, bytes]) -> bool:
        """Whether a query satisfies it."""
        value = query.get(self.name.encode())
        if self.match.kind is Kind.PRESENT:
            return (value is not None) is self.present
        return value is not None and self.match.test(value)

    def __str__(self) -> str:
        return f"?{self.name} {'not ' * (not self.present)}{self.match}"


def parse_query(query: bytes) -> dict[bytes, bytes]:
    """Parameter → first value, not percent-decoded (as Envoy compares them)."""
    parameters: dict[bytes, bytes] = {}
    for item in query.split(b"&"):
        name, _, value = item.partition(b"=")
        parameters.setdefault(name, value)
    return parameters


def is_grpc(request: Request) -> bool:
    """Whether a request says that it is gRPC, of whatever message format."""
    kind = request.header(b"content-type") or b""
    return kind == GRPC or kind.startswith(GRPC + b"+")


@dataclass(frozen=True, slots=True)
class Fraction:
    """A share of requests, ``numerator`` of ``denominator``."""

    numerator: int
    denominator: int

    def holds(self, drawn: float) -> bool:
        """Whether a number drawn from [0, 1) falls into it."""
        return int(drawn * self.denominator) < self.numerator

    def __str__(self) -> str:
        return f"{self.numerator} of {self.denominator} requests"


#: What needs no draw.
ALL = Fraction(100, 100)


@dataclass(frozen=True, slots=True)
class Match:
    """Conditions that must all hold; path None: any; fraction: of these requests."""

    path: TextMatch | None = None
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()
    source: tuple[SourceMatch, ...] = ()
    notes: tuple[NoteMatch, ...] = ()
    grpc: bool = False
    fraction: Fraction | None = None
    only_path: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        others = self.headers or self.query or self.source or self.notes or self.grpc
        object.__setattr__(self, "only_path", not (others or self.fraction))

    def accepts(
        self,
        request: Request,
        path: bytes,
        query: bytes,
        source: Source,
        drawn: float,
        *,
        notes: Notes = NO_NOTES,
    ) -> bool:
        """Whether a request fulfils them; path and query: the parts of its path.

        notes: what filters found.
        """
        if self.path is not None and not self.path.test(path):
            return False
        return self.only_path or self.accepts_rest(request, query, source, drawn, notes)

    def accepts_rest(
        self, request: Request, query: bytes, source: Source, drawn: float, notes: Notes
    ) -> bool:
        """The same, the path aside."""
        if self.fraction is not None and not self.fraction.holds(drawn):
            return False
        if self.grpc and not is_grpc(request):
            return False
        if not all(condition.accepts(request) for condition in self.headers):
            return False
        if not all(condition.accepts(source) for condition in self.source):
            return False
        if not all(condition.accepts(notes) for condition in self.notes):
            return False
        if not self.query:
            return True
        parameters = parse_query(query)
        return all(condition.accepts(parameters) for condition in self.query)

    def conditions(self) -> list[str]:
        """Them, for people."""
        shown = [f"path {self.path}"] if self.path else []
        shown += [str(each) for each in (*self.headers, *self.query, *self.source, *self.notes)]
        shown += ["gRPC"] if self.grpc else []
        return shown + ([str(self.fraction)] if self.fraction else [])


ANYTHING = Match()
