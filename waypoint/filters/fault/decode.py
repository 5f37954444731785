"""Faults, from Envoy's HTTPFault: a filter's message and a route's are the same."""

from __future__ import annotations

from envoy.extensions.filters.common.fault.v3 import fault_pb2 as common
from envoy.extensions.filters.http.fault.v3 import fault_pb2 as pb

from waypoint.decode.fields import each, final_status, only, percentage, seconds
from waypoint.decode.match import header_match
from waypoint.errors import RouteError
from waypoint.filters.fault.filter import FaultFilter
from waypoint.filters.fault.settings import KIB, Abort, Delay, Fault, Pace
from waypoint.filters.registry import Kind

#: There is no runtime, so what names a key of it changes nothing; nor are there
#: statistics by downstream cluster, whether or not they are asked for.
WITHOUT_EFFECT = {
    "delay_percent_runtime", "abort_percent_runtime", "delay_duration_runtime",
    "abort_http_status_runtime", "max_active_faults_runtime",
    "response_rate_limit_percent_runtime", "abort_grpc_status_runtime",
    "disable_downstream_cluster_stats",
}  # fmt: skip
TYPE = pb.HTTPFault.DESCRIPTOR.full_name
FAULT = {
    "delay", "abort", "upstream_cluster", "headers", "downstream_nodes",
    "max_active_faults", "response_rate_limit",
} | WITHOUT_EFFECT  # fmt: skip


def build(name: str, value: bytes, at: str) -> FaultFilter:
    """Decode the filter; raises RouteError."""
    return FaultFilter(name, decode_fault(value, at))


def decode_fault(value: bytes, at: str) -> Fault:
    """Decode a serialized HTTPFault; raises RouteError."""
    message = pb.HTTPFault.FromString(value)
    only(message, FAULT, at)
    return Fault(
        delay=delay(message.delay, f"{at}delay.") if message.HasField("delay") else None,
        abort=abort(message.abort, f"{at}abort.") if message.HasField("abort") else None,
        pace=pace(message.response_rate_limit, f"{at}response_rate_limit.")
        if message.HasField("response_rate_limit")
        else None,
        headers=each(message.headers, f"{at}headers", header_match),
        cluster=message.upstream_cluster,
        nodes=frozenset(node.encode() for node in message.downstream_nodes),
        most=message.max_active_faults.value if message.HasField("max_active_faults") else None,
    )


def delay(message: common.FaultDelay, at: str) -> Delay:
    """Decode a FaultDelay."""
    only(message, {"fixed_delay", "header_delay", "percentage"}, at)
    share = percentage(message.percentage, f"{at}percentage.")
    match message.WhichOneof("fault_delay_secifier"):
        case "fixed_delay":
            length = seconds(message, "fixed_delay", at)
            if not length:
                raise RouteError(f"{at}fixed_delay is 0 s: give a time, or take the delay out")
            return Delay(length, share)
        case "header_delay":
            only(message.header_delay, set(), f"{at}header_delay.")
            return Delay(None, share)
        case _:
            raise RouteError(f"{at}fixed_delay or header_delay is missing")


def abort(message: pb.FaultAbort, at: str) -> Abort:
    """Decode a FaultAbort."""
    only(message, {"http_status", "grpc_status", "header_abort", "percentage"}, at)
    share = percentage(message.percentage, f"{at}percentage.")
    match message.WhichOneof("error_type"):
        case "http_status":
            status = final_status(message.http_status, f"{at}http_status")
            return Abort(share, status=status)
        case "grpc_status":
            return Abort(share, grpc=message.grpc_status)
        case "header_abort":
            only(message.header_abort, set(), f"{at}header_abort.")
            return Abort(share)
        case _:
            raise RouteError(f"{at}http_status, grpc_status or header_abort is missing")


def pace(message: common.FaultRateLimit, at: str) -> Pace:
    """Decode a FaultRateLimit."""
    only(message, {"fixed_limit", "header_limit", "percentage"}, at)
    share = percentage(message.percentage, f"{at}percentage.")
    match message.WhichOneof("limit_type"):
        case "fixed_limit":
            only(message.fixed_limit, {"limit_kbps"}, f"{at}fixed_limit.")
            if not message.fixed_limit.limit_kbps:
                raise RouteError(f"{at}fixed_limit.limit_kbps is 0: give 1 or more")
            return Pace(message.fixed_limit.limit_kbps * KIB, share)
        case "header_limit":
            only(message.header_limit, set(), f"{at}header_limit.")
            return Pace(None, share)
        case _:
            raise RouteError(f"{at}fixed_limit or header_limit is missing")


KIND = Kind(build, {TYPE: decode_fault})
