"""Texts compared, and replaced, as Envoy's matchers do it."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import re2

from waypoint.errors import RouteError

Predicate = Callable[[bytes], bool]
#: Bounds the compiled size of one regular expression, in bytes.
REGEX_MEMORY = 1 << 20
#: What absl::SimpleAtoi takes for an int64.
NUMBER = re.compile(rb"\s*([+-]?[0-9]+)\s*")
#: A piece of an RE2 substitution: a group's number, or a backslash.
REFERENCE = re.compile(rb"\\([0-9\\])")


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


def compiled(pattern: str) -> Any:
    """An RE2 expression over bytes; raises RouteError for what RE2 doesn't take."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = REGEX_MEMORY
    try:
        return re2.compile(pattern.encode(), options=options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise RouteError(f"regular expression {pattern!r}: {reason}") from error


def regex(pattern: str) -> Predicate:
    """A full match in linear time."""
    expression = compiled(pattern)
    return lambda value: expression.fullmatch(value) is not None


def literal_prefix(pattern: str, longest: int) -> str:
    """What every full match of an expression begins with, up to a length in bytes."""
    try:
        low, high = compiled(pattern).possiblematchrange(longest)
    except re2.error:
        return ""
    pairs = zip(low, high, strict=False)
    shared = bytes(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return shared.decode(errors="ignore")


def number_range(text: str) -> Predicate:
    """Whether a value is a whole number in a half-open range."""
    start, _, end = text.partition(":")
    numbers = range(int(start), int(end))

    def within(value: bytes) -> bool:
        number = NUMBER.fullmatch(value)
        return number is not None and len(value) < 40 and int(number[1]) in numbers

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
class Substitution:
    """Every match of an expression replaced, as RE2's GlobalReplace does.

    by: ``\\0`` to ``\\9`` are groups, two backslashes are one. Raises RouteError for a
    bad expression, and for a replacement with anything else after a backslash or a
    group that isn't there.
    """

    pattern: str
    by: str
    expression: Any = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        expression = compiled(self.pattern)
        references = REFERENCE.findall(self.by.encode())
        if self.by.count("\\") != sum(1 + (found == b"\\") for found in references):
            raise RouteError(f"substitution {self.by!r}: a backslash before no digit")
        numbers = [int(found) for found in references if found != b"\\"]
        if max(numbers, default=0) > expression.groups:
            raise RouteError(
                f"substitution {self.by!r}: group {max(numbers)} is not in {self.pattern!r}"
            )
        object.__setattr__(self, "expression", expression)

    def apply(self, text: bytes) -> bytes:
        """The text with its matches replaced, left to right."""
        pieces: list[bytes] = []
        copied, last = 0, -1
        for match in self.expression.finditer(text):
            start, end = match.span()
            # An empty match right behind another one counts for nothing (RE2).
            if start == end == last:
                continue
            pieces += (text[copied:start], self.expand(match))
            copied = last = end
        return b"".join((*pieces, text[copied:]))

    def expand(self, match: Any) -> bytes:
        """What takes a match's place."""

        def group(reference: re.Match[bytes]) -> bytes:
            name = reference[1]
            return name if name == b"\\" else match.group(int(name)) or b""

        return REFERENCE.sub(group, self.by.encode())
