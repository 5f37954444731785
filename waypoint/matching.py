"""What a route asks of a request: compiled matchers, Envoy's semantics."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

import re2

from waypoint.errors import RouteError
from waypoint.layers.request import RequestHead

Predicate = Callable[[bytes], bool]
#: Bounds the compiled size of one regular expression, in bytes.
REGEX_MEMORY = 1 << 20


class Kind(enum.Enum):
    """How a text is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "regex"
    #: For paths: the text, and whatever follows it after a slash.
    PATH_PREFIX = "path_separated_prefix"
    #: The header or parameter is there, with any value.
    PRESENT = "present"
    #: A whole number from ``start`` on and below ``end`` ("start:end").
    RANGE = "range"


def regex(pattern: str) -> Predicate:
    """A full match in linear time; raises RouteError for what RE2 doesn't take."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = REGEX_MEMORY
    try:
        compiled = re2.compile(pattern.encode(), options=options)
    except re2.error as error:
        raise RouteError(f"regular expression {pattern!r}: {error}") from error
    return lambda value: compiled.fullmatch(value) is not None


def number_range(text: str) -> Predicate:
    """Whether a value is a whole number in a half-open range."""
    start, _, end = text.partition(":")
    numbers = range(int(start), int(end))

    def within(value: bytes) -> bool:
        digits = value[1:] if value[:1] == b"-" else value
        return digits.isdigit() and len(digits) < 20 and int(value) in numbers

    return within


def path_prefix(text: bytes) -> Predicate:
    """Whether a path is the text or lies below it."""
    below = text + b"/"
    return lambda value: value == text or value.startswith(below)


def predicate(kind: Kind, text: str) -> Predicate:
    """The comparison for a kind; raises RouteError for a bad expression."""
    wanted = text.encode()
    comparisons: dict[Kind, Callable[[], Predicate]] = {
        Kind.EXACT: lambda: wanted.__eq__,
        Kind.PREFIX: lambda: lambda value: value.startswith(wanted),
        Kind.SUFFIX: lambda: lambda value: value.endswith(wanted),
        Kind.CONTAINS: lambda: lambda value: wanted in value,
        Kind.PATH_PREFIX: lambda: path_prefix(wanted),
        Kind.PRESENT: lambda: lambda _value: True,
        Kind.REGEX: lambda: regex(text),
        Kind.RANGE: lambda: number_range(text),
    }
    return comparisons[kind]()


@dataclass(frozen=True, slots=True)
class TextMatch:
    """A comparison with a text.

    ignore_case: ASCII letters only; never for regular expressions, as in Envoy.
    """

    kind: Kind
    text: str
    ignore_case: bool = False
    test: Predicate = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        folds = self.ignore_case and self.kind is not Kind.REGEX
        plain = predicate(self.kind, self.text.lower() if folds else self.text)
        test = (lambda value: plain(value.lower())) if folds else plain
        object.__setattr__(self, "test", test)

    def __str__(self) -> str:
        return f"{self.kind.value} {self.text!r}{' ignoring case' * self.ignore_case}"


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """A condition on a header, or a pseudo-header such as ``:method``.

    name: in lower case. present: whether it must be there (Kind.PRESENT only).
    A header that is missing satisfies nothing, inverted or not, unless it counts
    as empty.
    """

    name: str
    match: TextMatch
    invert: bool = False
    present: bool = True
    missing_is_empty: bool = False

    def accepts(self, head: RequestHead) -> bool:
        """Whether a request satisfies it."""
        value = head.header(self.name.encode())
        if value is None and self.missing_is_empty:
            value = b""
        if self.match.kind is Kind.PRESENT:
            return ((value is not None) is self.present) is not self.invert
        if value is None:
            return False
        return self.match.test(value) is not self.invert

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
