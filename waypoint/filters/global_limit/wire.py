"""Questions and answers as messages of envoy.service.ratelimit.v3."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf.json_format import MessageToDict

from waypoint.errors import InquiryError
from waypoint.filters.descriptors import Descriptor
from waypoint.filters.global_limit.settings import Answer, Status
from waypoint.filters.soundness import FRAMING, sound_fields
from waypoint.filters.unary import read_message
from waypoint.messages import Field

METHOD = b"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
UNIT = RateLimitResponse.RateLimit
#: Seconds of a limit's unit, months and years as Envoy counts them.
WINDOWS = {
    UNIT.SECOND: 1,
    UNIT.MINUTE: 60,
    UNIT.HOUR: 3600,
    UNIT.DAY: 86400,
    UNIT.MONTH: 2592000,
    UNIT.YEAR: 31536000,
}
#: What may stand in quotes in a field.
QUOTABLE = re.compile(r"[ !#-\[\]-~]*")


def encoded(domain: str, descriptors: Iterable[Descriptor]) -> bytes:
    """A RateLimitRequest."""
    message = RateLimitRequest(domain=domain)
    for each in descriptors:
        made = message.descriptors.add()
        for key, value in each.entries:
            made.entries.add(key=key, value=value)
        if each.hits is not None:
            made.hits_addend.value = each.hits
    content: bytes = message.SerializeToString()
    return content


def decoded(value: bytes) -> Answer:
    """The answer of a RateLimitResponse; raises InquiryError where it is none."""
    message = read_message(RateLimitResponse, value)
    notes = None
    if message.HasField("dynamic_metadata"):
        notes = MessageToDict(message.dynamic_metadata)
    return Answer(
        message.overall_code == RateLimitResponse.OVER_LIMIT,
        tuple(status_of(status) for status in message.statuses),
        fields_of(message.response_headers_to_add),
        fields_of(message.request_headers_to_add),
        message.raw_body,
        notes,
    )


def status_of(message: Any) -> Status:
    """A DescriptorStatus."""
    reset = message.duration_until_reset.ToNanoseconds() / 1e9
    over = message.code == RateLimitResponse.OVER_LIMIT
    if not message.HasField("current_limit"):
        return Status(over, reset=reset)
    limit = message.current_limit
    return Status(
        over,
        limit.requests_per_unit,
        WINDOWS.get(limit.unit, 0),
        limit.name if QUOTABLE.fullmatch(limit.name) else "",
        message.limit_remaining,
        reset,
    )


def fields_of(values: Iterable[Any]) -> tuple[Field, ...]:
    """HeaderValues, those left out that frame a message; raises InquiryError for one that
    can't be written into a head.
    """
    found = []
    for header in values:
        field = (header.key.lower().encode(), header.raw_value or header.value.encode())
        if not sound_fields((field,)):
            raise InquiryError(f"the answer has a header {header.key!r} that can't be written")
        if field[0] not in FRAMING:
            found.append(field)
    return tuple(found)
