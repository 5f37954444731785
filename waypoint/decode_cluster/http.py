"""How a cluster's endpoints are spoken to: HttpProtocolOptions."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from waypoint.cluster_settings import HttpSettings, Pings, Protocol
from waypoint.decode.fields import bounded, only, seconds, wrapped
from waypoint.errors import RouteError

OPTIONS = {
    "common_http_protocol_options", "explicit_http_config", "use_downstream_protocol_config",
    "upstream_http_protocol_options",
}  # fmt: skip
COMMON = {
    "idle_timeout", "max_connection_duration", "max_requests_per_connection",
}  # fmt: skip
#: enable_trailers, allow_connect: both are always on here.
HTTP1 = {"enable_trailers"}
HTTP2 = {
    "max_concurrent_streams", "initial_stream_window_size", "initial_connection_window_size",
    "allow_connect", "connection_keepalive",
}  # fmt: skip
#: SNI and names in certificates are for TLS, which the L4 engine does.
TLS = {"auto_sni", "auto_san_validation"}
WINDOW_LEAST, WINDOW_MOST = 65535, (1 << 31) - 1


def http_settings(message: HttpProtocolOptions, most: int, at: str) -> HttpSettings:
    """Decode the options; most: the cluster's own bound of requests on a connection."""
    only(message, OPTIONS, at)
    only(message.upstream_http_protocol_options, TLS, f"{at}upstream_http_protocol_options.")
    common = message.common_http_protocol_options
    below = f"{at}common_http_protocol_options."
    only(common, COMMON, below)
    protocol, http2 = spoken(message, at)
    streams = wrapped(http2, "max_concurrent_streams", None)
    if streams is not None:
        bounded(streams, 1, WINDOW_MOST, f"{at}max_concurrent_streams")
    return HttpSettings(
        protocol=protocol,
        max_requests=wrapped(common, "max_requests_per_connection", most),
        idle_timeout=seconds(common, "idle_timeout", below),
        max_connection_duration=seconds(
            common, "max_connection_duration", below, positive=True
        ),
        streams=streams,
        stream_window=window(http2, "initial_stream_window_size", at),
        connection_window=window(http2, "initial_connection_window_size", at),
        pings=pings(http2, at),
    )


def spoken(
    message: HttpProtocolOptions, at: str
) -> tuple[Protocol | None, Http2ProtocolOptions]:
    """The protocol, None: it isn't said, and HTTP/2's options."""
    match message.WhichOneof("upstream_protocol_options"):
        case "explicit_http_config":
            config: Any = message.explicit_http_config
            below = f"{at}explicit_http_config."
            only(config, {"http_protocol_options", "http2_protocol_options"}, below)
            is_http2 = config.WhichOneof("protocol_config") == "http2_protocol_options"
            protocol: Protocol = Protocol.HTTP2 if is_http2 else Protocol.HTTP1
        case "use_downstream_protocol_config":
            config = message.use_downstream_protocol_config
            below = f"{at}use_downstream_protocol_config."
            only(config, {"http_protocol_options", "http2_protocol_options"}, below)
            protocol = Protocol.DOWNSTREAM
        case _:
            return None, Http2ProtocolOptions()
    only(config.http_protocol_options, HTTP1, f"{below}http_protocol_options.")
    only(config.http2_protocol_options, HTTP2, f"{below}http2_protocol_options.")
    return protocol, config.http2_protocol_options


def window(message: Http2ProtocolOptions, name: str, at: str) -> int | None:
    """A flow-control window in bytes."""
    size: int | None = wrapped(message, name, None)
    if size is not None:
        bounded(size, WINDOW_LEAST, WINDOW_MOST, f"{at}{name}")
    return size


def pings(message: Http2ProtocolOptions, at: str) -> Pings | None:
    """PINGs that are to be answered, None: there are none."""
    if not message.HasField("connection_keepalive"):
        return None
    options, at = message.connection_keepalive, f"{at}connection_keepalive."
    only(options, {"interval", "timeout", "interval_jitter"}, at)
    interval = seconds(options, "interval", at, positive=True)
    timeout = seconds(options, "timeout", at, positive=True)
    if timeout is None:
        raise RouteError(f"{at}timeout is missing")
    if interval is None:
        return None
    jitter = options.interval_jitter.value if options.HasField("interval_jitter") else 15.0
    bounded(jitter, 0, 100, f"{at}interval_jitter")
    return Pings(interval, timeout, jitter)
