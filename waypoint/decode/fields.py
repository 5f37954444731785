"""What all decoding has in common: known fields, places, durations, safe texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from typing import Any, TypeVar

from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.type.v3.percent_pb2 import FractionalPercent
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

from waypoint.decode.known import unsupported
from waypoint.errors import RouteError
from waypoint.routing.conditions import Fraction

T = TypeVar("T")
M = TypeVar("M", bound=Message)
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


def seconds(message: Message, name: str, at: str, *, positive: bool = False) -> float | None:
    """A Duration field in seconds, None where it isn't set; raises RouteError below 0.

    positive: and for 0.
    """
    if not message.HasField(name):
        return None
    length: float = getattr(message, name).ToNanoseconds() / 1e9
    if length < 0 or (positive and not length):
        raise RouteError(f"{at}{name} {length} s is {'too short' if positive else 'negative'}")
    return length


def wrapped(message: Message, name: str, default: Any) -> Any:
    """The value of a wrapper (UInt32Value and its like), or the default."""
    return getattr(message, name).value if message.HasField(name) else default


def bounded(value: float, least: float, most: float, name: str) -> None:
    """Raise RouteError for a number out of bounds."""
    if not least <= value <= most:
        raise RouteError(f"{name} {value} is not in {least}…{most}")


def final_status(code: int, name: str) -> int:
    """A status that a response can have; raises RouteError for others."""
    bounded(code, 200, 599, name)
    return code


def parsed(kind: type[M], value: bytes, at: str = "") -> M:
    """A message from its bytes; raises RouteError where they are none."""
    message = kind()
    try:
        message.ParseFromString(value)
    except DecodeError as error:
        raise RouteError(f"{at}not a {kind.DESCRIPTOR.name}: {error}") from error
    return message


def unpacked(value: AnyMessage, kind: type[M], at: str) -> M:
    """The message that an Any holds; raises RouteError where it holds another."""
    message = kind()
    try:
        found = value.Unpack(message)
    except DecodeError as error:
        raise RouteError(f"{at}not a {kind.DESCRIPTOR.full_name}: {error}") from error
    if not found:
        raise RouteError(f"{at}{value.type_url!r} is no {kind.DESCRIPTOR.full_name}")
    return message


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
    return percentage(message.default_value, f"{at}default_value.")


def percentage(percent: FractionalPercent, at: str) -> Fraction:
    """A share of requests; none where the message is empty."""
    only(percent, {"numerator", "denominator"}, at)
    denominator = DENOMINATORS.get(percent.denominator)
    if denominator is None:
        raise RouteError(f"{at}denominator {percent.denominator} is not known here")
    return Fraction(percent.numerator, denominator)
