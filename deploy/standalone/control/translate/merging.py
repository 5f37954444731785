"""Merging one message of Envoy's into another, as Istio does it."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

#: Values in themselves: the later one counts, whole.
WHOLE = {
    "google.protobuf.Duration",
    "google.protobuf.BoolValue",
    "google.protobuf.UInt32Value",
    "google.protobuf.UInt64Value",
    "google.protobuf.Int32Value",
    "google.protobuf.Int64Value",
    "google.protobuf.FloatValue",
    "google.protobuf.DoubleValue",
    "google.protobuf.StringValue",
    "google.protobuf.BytesValue",
}


def merge(into: Message, more: Message) -> None:
    """Set in a message what another one sets: lists are joined, messages are merged."""
    for field, value in more.ListFields():
        mine = getattr(into, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            merge_map(field, mine, value)
        elif field.is_repeated:
            mine.extend(value)
        elif field.message_type is None:
            setattr(into, field.name, value)
        else:
            merge_message(mine, value)


def merge_message(mine: Any, value: Any) -> None:
    """Merge a field's message; a choice that was made otherwise is overridden."""
    if isinstance(value, AnyMessage):
        merge_any(mine, value)
    elif value.DESCRIPTOR.full_name in WHOLE:
        mine.CopyFrom(value)
    else:
        mine.SetInParent()
        merge(mine, value)


def merge_map(field: FieldDescriptor, mine: Any, more: Any) -> None:
    """Merge a map, key by key."""
    assert field.message_type is not None
    holds_messages = field.message_type.fields_by_name["value"].message_type is not None
    for key, value in more.items():
        if holds_messages:
            merge_message(mine[key], value)
        else:
            mine[key] = value


def merge_any(mine: AnyMessage, more: AnyMessage) -> None:
    """Merge what two messages of one type hold; another type takes the first one's place."""
    if mine.type_url != more.type_url:
        mine.CopyFrom(more)
        return
    name = more.type_url.rpartition("/")[2]
    kind = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))
    held, added = kind(), kind()
    mine.Unpack(held)
    more.Unpack(added)
    merge(held, added)
    mine.Pack(held, deterministic=True)
