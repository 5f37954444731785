"""What a request counts as for rate limits: Envoy's RateLimit of routes, and what its
filters of both sorts say alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from waypoint.decode.fields import bounded, each, header_name, only
from waypoint.decode.match import header_match, query_match
from waypoint.errors import RouteError
from waypoint.filters.descriptors import HostLimits
from waypoint.routing.limits import (
    DestinationCluster,
    GenericKey,
    LimitAction,
    Metadata,
    QueryParameter,
    RateLimit,
    RemoteAddress,
    RequestHeader,
    ValueMatch,
)

#: There is no runtime here: what disable_key names is never set.
LIMIT = {"stage", "disable_key", "actions", "hits_addend"}
ACTION = {
    "destination_cluster", "request_headers", "query_parameters", "remote_address",
    "masked_remote_address", "generic_key", "header_value_match",
    "query_parameter_value_match", "metadata", "dynamic_metadata",
}  # fmt: skip
METADATA = {"descriptor_key", "metadata_key", "default_value", "source", "skip_if_absent"}
MOST_STAGE = 10
MOST_HITS = 1_000_000_000


def rate_limits(messages: Iterable[Any], at: str) -> tuple[RateLimit, ...]:
    """Decode the ``rate_limits`` of a message; raises RouteError."""
    return each(messages, f"{at}rate_limits", rate_limit)


def rate_limit(message: Any, at: str) -> RateLimit:
    """Decode a RateLimit."""
    only(message, LIMIT, at)
    stage = bounded_stage(message.stage.value, at)
    if not message.actions:
        raise RouteError(f"{at}actions is empty")
    return RateLimit(each(message.actions, f"{at}actions", action), stage, hits(message, at))


def bounded_stage(stage: int, at: str) -> int:
    """The stage of a limit, or of a filter; raises RouteError for one that none has."""
    bounded(stage, 0, MOST_STAGE, f"{at}stage")
    return stage


def host_limits(value: int, at: str) -> HostLimits:
    """A filter's ``vh_rate_limits``; raises RouteError."""
    try:
        return HostLimits(value)
    except ValueError as error:
        raise RouteError(f"{at}vh_rate_limits {value} is not known here") from error


def refusal_status(message: Any, at: str) -> int:
    """A refusal's status: 429 unless another one of 400 and more is set, as with Envoy."""
    only(message, {"code"}, at)
    code: int = message.code
    bounded(code, 0, 599, f"{at}code")
    return code if code >= 400 else 429


def tells_limits(value: int, at: str) -> bool:
    """Whether responses say how much is left, by ``enable_x_ratelimit_headers``."""
    bounded(value, 0, 1, f"{at}enable_x_ratelimit_headers")
    return bool(value)


def hits(message: Any, at: str) -> int | None:
    """How many requests one counts for, where that is said."""
    if not message.HasField("hits_addend"):
        return None
    only(message.hits_addend, {"number"}, f"{at}hits_addend.")
    number: int = message.hits_addend.number.value
    if number > MOST_HITS:
        raise RouteError(f"{at}hits_addend.number {number} is above {MOST_HITS}")
    return number


def action(message: Any, at: str) -> LimitAction:
    """Decode an action."""
    only(message, ACTION, at)
    name = message.WhichOneof("action_specifier")
    if name is None:
        raise RouteError(f"{at}action_specifier is missing")
    inner, where = getattr(message, name), f"{at}{name}."
    match name:
        case "destination_cluster":
            only(inner, set(), where)
            return DestinationCluster()
        case "remote_address":
            only(inner, set(), where)
            return RemoteAddress()
        case "masked_remote_address":
            return masked(inner, where)
        case "request_headers":
            only(inner, {"header_name", "descriptor_key", "skip_if_absent"}, where)
            # Pseudo-headers are headers here.
            plain = inner.header_name.removeprefix(":")
            header = inner.header_name[: -len(plain)].encode() + header_name(
                plain, f"{where}header_name"
            )
            return RequestHeader(header, key_of(inner, where), inner.skip_if_absent)
        case "query_parameters":
            only(inner, {"query_parameter_name", "descriptor_key", "skip_if_absent"}, where)
            return QueryParameter(
                inner.query_parameter_name.encode(), key_of(inner, where), inner.skip_if_absent
            )
        case "generic_key":
            only(inner, {"descriptor_value", "descriptor_key"}, where)
            return GenericKey(key_of(inner, where, "generic_key"), value_of(inner, where))
        case "header_value_match" | "query_parameter_value_match":
            return value_match(inner, name, where)
        case _:
            return metadata(inner, where)


def key_of(message: Any, at: str, default: str = "") -> str:
    """A descriptor's key."""
    key: str = message.descriptor_key or default
    if not key:
        raise RouteError(f"{at}descriptor_key is empty")
    return key


def value_of(message: Any, at: str) -> str:
    """A descriptor's value, which is taken as it is written."""
    value: str = message.descriptor_value
    if not value or "%" in value:
        raise RouteError(f"{at}descriptor_value {value!r} is empty, or has a command in it")
    return value


def masked(message: Any, at: str) -> RemoteAddress:
    """Decode a MaskedRemoteAddress."""
    only(message, {"v4_prefix_mask_len", "v6_prefix_mask_len"}, at)
    lengths = []
    for name, most in (("v4_prefix_mask_len", 32), ("v6_prefix_mask_len", 128)):
        length = getattr(message, name).value if message.HasField(name) else most
        if length > most:
            raise RouteError(f"{at}{name} {length} is above {most}")
        lengths.append(length)
    return RemoteAddress((lengths[0], lengths[1]))


def value_match(message: Any, name: str, at: str) -> ValueMatch:
    """Decode a HeaderValueMatch or a QueryParameterValueMatch."""
    by_header = name == "header_value_match"
    field = "headers" if by_header else "query_parameters"
    only(message, {"descriptor_key", "descriptor_value", "expect_match", field}, at)
    default = "header_match" if by_header else "query_match"
    conditions = getattr(message, field)
    if not conditions:
        raise RouteError(f"{at}{field} is empty")
    return ValueMatch(
        key_of(message, at, default),
        value_of(message, at),
        not message.HasField("expect_match") or message.expect_match.value,
        headers=each(conditions, f"{at}{field}", header_match) if by_header else (),
        query=() if by_header else each(conditions, f"{at}{field}", query_match),
    )


def metadata(message: Any, at: str) -> Metadata:
    """Decode a MetaData, or a DynamicMetaData, which has fewer fields."""
    only(message, METADATA, at)
    named = message.DESCRIPTOR.fields_by_name
    if "source" in named and message.source:
        raise RouteError(f"{at}source: only DYNAMIC metadata is known here")
    only(message.metadata_key, {"key", "path"}, f"{at}metadata_key.")
    if not message.metadata_key.key or not message.metadata_key.path:
        raise RouteError(f"{at}metadata_key needs key and path")
    for i, segment in enumerate(message.metadata_key.path):
        only(segment, {"key"}, f"{at}metadata_key.path[{i}].")
    return Metadata(
        key_of(message, at),
        message.metadata_key.key,
        tuple(segment.key for segment in message.metadata_key.path),
        message.default_value,
        "skip_if_absent" in named and message.skip_if_absent,
    )
