"""What a message may set, whatever it configures."""

from __future__ import annotations

from collections.abc import Set

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet


def unsupported(message: Message, known: Set[str]) -> str:
    """What is wrong with a message that sets anything else; empty: nothing is."""
    for descriptor, value in message.ListFields():
        if descriptor.name not in known:
            shown = " ".join(str(value).split())[:80]
            return f"{descriptor.name} ({shown}) is not supported"
    unknown = UnknownFieldSet(message)
    return f"field number {unknown[0].field_number} is not known here" if len(unknown) else ""
