"""What all decoding of clusters has in common: known fields, numbers, durations."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

from waypoint.decode.known import unsupported
from waypoint.errors import ClusterError

M = TypeVar("M", bound=Message)


def only(message: Message, known: Set[str], at: str) -> None:
    """Raise ClusterError when a message sets anything else."""
    if wrong := unsupported(message, known):
        raise ClusterError(f"{at}{wrong}")


def wrapped(message: Message, name: str, default: Any) -> Any:
    """The value of a wrapper (UInt32Value and its like), or the default."""
    return getattr(message, name).value if message.HasField(name) else default


def seconds(message: Message, name: str, at: str, *, positive: bool = False) -> float | None:
    """A Duration in seconds, None where it isn't set; raises ClusterError below 0."""
    if not message.HasField(name):
        return None
    length: float = getattr(message, name).ToNanoseconds() / 1e9
    if length < 0 or (positive and not length):
        raise ClusterError(f"{at}{name} {length} s is too short")
    return length


def within(value: float, least: float, most: float, name: str) -> None:
    """Raise ClusterError for a number out of bounds."""
    if not least <= value <= most:
        raise ClusterError(f"{name} {value} is not in {least}…{most}")


def unpacked(value: AnyMessage, kind: type[M], at: str) -> M:
    """The message that an Any holds; raises ClusterError where it holds another."""
    message = kind()
    try:
        found = value.Unpack(message)
    except DecodeError as error:
        raise ClusterError(f"{at}not a {kind.DESCRIPTOR.full_name}: {error}") from error
    if not found:
        raise ClusterError(f"{at}{value.type_url!r} is no {kind.DESCRIPTOR.full_name}")
    return message
