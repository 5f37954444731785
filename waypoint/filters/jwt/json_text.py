"""JSON that strangers wrote: strict, and bounded in depth."""

from __future__ import annotations

import json
import math
from typing import Any

#: Nested deeper, nothing is read (protobuf's bound).
DEPTH = 100


def read_object(data: bytes) -> dict[str, Any] | None:
    """A JSON object; None: it is none, or says something twice, or can't be UTF-8."""
    try:
        text = data.decode()
        value = json.loads(
            text,
            object_pairs_hook=once,
            parse_constant=refuse,
            parse_float=finite,
            parse_int=whole,
        )
        if "\\u" in text:
            # Half of a surrogate pair is no character.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and is_shallow(value) else None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's members; raises ValueError where two have one name."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name is there twice")
    return members


def refuse(constant: str) -> None:
    """NaN and Infinity are no JSON."""
    raise ValueError(constant)


def finite(text: str) -> float:
    """A number; raises ValueError where it is too large for one."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def whole(text: str) -> int:
    """A whole number; raises ValueError where a float couldn't hold it."""
    finite(text)
    return int(text)


def is_shallow(value: Any) -> bool:
    """Whether nothing in it is nested too deeply."""
    level: list[Any] = [value]
    for _ in range(DEPTH):
        level = [inner for each in level for inner in members(each)]
        if not level:
            return True
    return False


def members(value: Any) -> list[Any]:
    """What an object or a list has that may hold more."""
    inner = value.values() if isinstance(value, dict) else value
    return [each for each in inner if isinstance(each, dict | list)]
