"""Active health checks: Envoy's HealthCheck."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from envoy.config.core.v3 import health_check_pb2
from envoy.config.core.v3.base_pb2 import HeaderValueOption, RequestMethod
from envoy.type.v3.http_pb2 import CodecClientType

from waypoint.decode.fields import bounded, each, only, seconds, text, wrapped
from waypoint.errors import RouteError
from waypoint.resilience.health import Check, GrpcCheck, HealthCheck, HttpCheck, TcpCheck

#: reuse_connection decides nothing: each check has a connection of its own.
CHECK = {
    "timeout", "interval", "initial_jitter", "interval_jitter", "interval_jitter_percent",
    "unhealthy_threshold", "healthy_threshold", "alt_port", "reuse_connection",
    "http_health_check", "tcp_health_check", "grpc_health_check", "no_traffic_interval",
    "no_traffic_healthy_interval", "unhealthy_interval", "unhealthy_edge_interval",
    "healthy_edge_interval",
}  # fmt: skip
HTTP = {
    "host", "path", "request_headers_to_add", "expected_statuses", "retriable_statuses",
    "codec_client_type", "method",
}  # fmt: skip
#: Checks of one endpoint: each makes connections to it, for ever. (Envoy wants names for
#: several, for its statistics; messages of an older API have none.)
MOST_CHECKS = 16
#: A check with a body, or that opens a tunnel, is none.
NO_METHODS = {RequestMethod.CONNECT}


def health_checks(message: Any) -> tuple[HealthCheck, ...]:
    """Decode a Cluster's; raises RouteError."""
    number = len(message.health_checks)
    if number > MOST_CHECKS:
        raise RouteError(f"health_checks: {number}, more than {MOST_CHECKS}")
    return each(message.health_checks, "health_checks", health_check)


def health_check(message: health_check_pb2.HealthCheck, at: str) -> HealthCheck:
    """Decode one HealthCheck."""
    only(message, CHECK, at)
    timeout = seconds(message, "timeout", at, positive=True)
    interval = seconds(message, "interval", at, positive=True)
    if timeout is None or interval is None:
        raise RouteError(f"{at}timeout or interval is missing")
    unhealthy = wrapped(message, "unhealthy_threshold", 0)
    healthy = wrapped(message, "healthy_threshold", 0)
    port = wrapped(message, "alt_port", 0)
    bounded(unhealthy, 1, 1 << 32, f"{at}unhealthy_threshold")
    bounded(healthy, 1, 1 << 32, f"{at}healthy_threshold")
    bounded(port, 0, 65535, f"{at}alt_port")
    no_traffic = seconds(message, "no_traffic_interval", at, positive=True)
    return HealthCheck(
        check=check(message, at),
        timeout=timeout,
        interval=interval,
        unhealthy_threshold=unhealthy,
        healthy_threshold=healthy,
        initial_jitter=seconds(message, "initial_jitter", at) or 0.0,
        interval_jitter=seconds(message, "interval_jitter", at) or 0.0,
        jitter_percent=message.interval_jitter_percent,
        no_traffic=60.0 if no_traffic is None else no_traffic,
        no_traffic_healthy=seconds(message, "no_traffic_healthy_interval", at, positive=True),
        unhealthy_interval=seconds(message, "unhealthy_interval", at, positive=True),
        unhealthy_edge_interval=seconds(message, "unhealthy_edge_interval", at, positive=True),
        healthy_edge_interval=seconds(message, "healthy_edge_interval", at, positive=True),
        port=port,
    )


def check(message: health_check_pb2.HealthCheck, at: str) -> Check:
    """What is asked of a host."""
    match message.WhichOneof("health_checker"):
        case "http_health_check":
            return http_check(message.http_health_check, f"{at}http_health_check.")
        case "tcp_health_check":
            return tcp_check(message.tcp_health_check, f"{at}tcp_health_check.")
        case "grpc_health_check":
            grpc, below = message.grpc_health_check, f"{at}grpc_health_check."
            only(grpc, {"service_name", "authority", "initial_metadata"}, below)
            authority = text(grpc.authority, f"{below}authority")
            fields = headers(grpc.initial_metadata, f"{below}initial_metadata")
            return GrpcCheck(grpc.service_name, authority, fields)
        case _:
            raise RouteError(f"{at}health_checker is missing")


def http_check(message: health_check_pb2.HealthCheck.HttpHealthCheck, at: str) -> HttpCheck:
    """A request."""
    only(message, HTTP, at)
    codec = message.codec_client_type
    if codec not in {CodecClientType.HTTP1, CodecClientType.HTTP2}:
        raise RouteError(f"{at}codec_client_type {codec}: neither HTTP1 nor HTTP2")
    if not message.path.startswith("/") or " " in message.path:
        raise RouteError(f"{at}path {message.path!r} is no path")
    if message.method in NO_METHODS:
        raise RouteError(f"{at}method {message.method} is not supported")
    method = RequestMethod.Name(message.method or RequestMethod.GET)
    return HttpCheck(
        path=text(message.path, f"{at}path"),
        host=text(message.host, f"{at}host"),
        method=method.encode(),
        fields=headers(message.request_headers_to_add, f"{at}request_headers_to_add"),
        expected=ranges(message.expected_statuses, f"{at}expected_statuses") or ((200, 201),),
        retriable=ranges(message.retriable_statuses, f"{at}retriable_statuses"),
        http2=codec == CodecClientType.HTTP2,
    )


def tcp_check(message: health_check_pb2.HealthCheck.TcpHealthCheck, at: str) -> TcpCheck:
    """Bytes to send, and bytes that have to come."""
    only(message, {"send", "receive"}, at)
    received = [payload(part, f"{at}receive.") for part in message.receive]
    return TcpCheck(payload(message.send, f"{at}send."), tuple(received))


def payload(message: health_check_pb2.HealthCheck.Payload, at: str) -> bytes:
    """Bytes, written in hexadecimal or as they are."""
    if message.WhichOneof("payload") == "binary":
        return bytes(message.binary)
    try:
        return bytes.fromhex(message.text)
    except ValueError as error:
        raise RouteError(f"{at}text {message.text!r}: {error}") from error


def headers(messages: Iterable[HeaderValueOption], at: str) -> tuple[tuple[bytes, bytes], ...]:
    """Headers to send; there are none before that they could replace."""
    found: list[tuple[bytes, bytes]] = []
    for option in messages:
        only(option, {"header", "append", "append_action"}, f"{at}.")
        only(option.header, {"key", "value"}, f"{at}.header.")
        name = text(option.header.key, f"{at}.key").lower()
        found.append((name, text(option.header.value, f"{at}.value")))
    return tuple(found)


def ranges(messages: Iterable[Any], at: str) -> tuple[tuple[int, int], ...]:
    """Ranges of statuses, the end not included."""
    found = [(message.start, message.end) for message in messages]
    for low, high in found:
        if not 100 <= low < high <= 600:
            raise RouteError(f"{at} {low}…{high} is no range in 100…600")
    return tuple(found)
