"""What all decoding has in common: known fields, places, durations, safe texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from typing import Any, TypeVar

from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.type.v3.percent_pb2 import FractionalPercent
from google.protobuf.message import Message

from waypoint.decode.known import unsupported
from waypoint.errors import RouteError
from waypoint.routing.conditions import Fraction

T = TypeVar("T")
NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
UNSAFE = re.compile(r"[\x00\r\n]")
NO_PATH = re.compile(r"[\x00-\x20\x7f#]")
DENOMINATORS = {
    FractionalPercent.HUNDRED: 100,
    FractionalPercent.TEN_THOUSAND: 10_000,
    FractionalPercent.MILLION: 1_000_000,
}


def only(message: Message, known: Set[str], at: str) -> None:
    """Raise RouteError when a message sets anything else."""
    if wrong := unsupported(message, known):
        raise RouteError(f"{at}{wrong}")


def each(messages: Iterable[Any], name: str, decode: Callable[[Any, str], T]) -> tuple[T, ...]:
    """Decode a repeated field, telling each element where it is."""
    return tuple(decode(m, f"{name}[{i}].") for i, m in enumerate(messages))


@contextmanager
def within(at: str) -> Iterator[None]:
    """Tell where something is that is wrong by itself."""
    try:
        yield
    except RouteError as error:
        raise RouteError(f"{at}: {error}") from error


def seconds(message: Message, name: str, at: str) -> float | None:
    """A Duration field in seconds, None where it isn't set; raises RouteError below 0."""
    if not message.HasField(name):
        return None
    length: float = getattr(message, name).ToNanoseconds() / 1e9
    if length < 0:
        raise RouteError(f"{at}{name} {length} s is negative")
    return length


def text(value: str, at: str) -> bytes:
    """What becomes part of a message's head; raises RouteError for line ends in it."""
    if UNSAFE.search(value):
        raise RouteError(f"{at} {value!r} has a line end or NUL in it")
    return value.encode()


def path_text(value: str, at: str) -> bytes:
    """What becomes part of a path; raises RouteError for what no path can have."""
    if NO_PATH.search(value):
        raise RouteError(f"{at} {value!r} has white space, a control character or #")
    return value.encode()


def header_name(value: str, at: str) -> bytes:
    """A header's name in lower case; raises RouteError where it is none."""
    if not NAME.fullmatch(value):
        raise RouteError(f"{at} {value!r} is no header's name")
    return value.lower().encode()


def fraction(message: RuntimeFractionalPercent, at: str) -> Fraction:
    """A share of requests. There is no runtime here, so the default is in force."""
    only(message, {"default_value", "runtime_key"}, at)
    percent = message.default_value
    only(percent, {"numerator", "denominator"}, f"{at}default_value.")
    denominator = DENOMINATORS.get(percent.denominator)
    if denominator is None:
        raise RouteError(f"{at}denominator {percent.denominator} is not known here")
    return Fraction(percent.numerator, denominator)
