"""A snapshot in Prometheus' text format: Istio's families by name, and the waypoint's.

Request histograms have some sixty lines for each set of labels, in which the same labels
stand each time: their text is made once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from waypoint.metrics.labels import MESSAGES, REQUEST, STREAM
from waypoint.metrics.recorder import (
    ANSWERED,
    ASKED,
    BOUNDS,
    CLOSED,
    DURATION,
    OPENED,
    RECEIVED,
    SENT,
    STREAM_RECEIVED,
    STREAM_SENT,
    SUM,
)
from waypoint.metrics.snapshot import Rows, Series, Snapshot
from ztunnel_compat.runtime.exposition import labels_text

PREFIX: Final = "tandem_waypoint_"


class Family(NamedTuple):
    """A family of the waypoint's own: what it says, and the names of its labels."""

    help: str
    labels: tuple[str, ...] = ()


#: Bounds as they are written; see recorder.BOUNDS about the first.
TEXTS: Final = ("0.5", *(str(bound) for bound in BOUNDS[1:]), "+Inf")
HISTOGRAMS: Final = (
    ("istio_request_duration_milliseconds", "how long requests took", DURATION),
    ("istio_request_bytes", "bytes of requests' bodies", RECEIVED),
    ("istio_response_bytes", "bytes of responses' bodies", SENT),
)
STREAMS: Final = (
    ("istio_tcp_connections_opened", "connections opened, of what isn't HTTP", OPENED),
    ("istio_tcp_connections_closed", "connections closed, of what isn't HTTP", CLOSED),
    ("istio_tcp_received_bytes", "bytes from client to server", STREAM_RECEIVED),
    ("istio_tcp_sent_bytes", "bytes from server to client", STREAM_SENT),
)
CALLS: Final = (
    ("istio_request_messages", "gRPC messages from client to server", ASKED),
    ("istio_response_messages", "gRPC messages from server to client", ANSWERED),
)
#: What only grows, without prefix and ``_total``.
COUNTS: Final = {
    "connections": Family("clients' HTTP connections"),
    "tcp_connections": Family("clients' connections that were relayed"),
    "requests": Family("requests, their copies and the waypoint's own among them"),
    "upstream_connections": Family("connections made to endpoints"),
    "connect_failures": Family("connections to endpoints that couldn't be made"),
    "retries_stale": Family("requests sent again because a reused connection had died"),
    "stale_not_retried": Family("requests that failed because a reused connection had died"),
    "mirrored": Family("copies of requests"),
    "mirrors_failed": Family("copies of requests that got no answer"),
    "stray_bytes": Family("connections on which an endpoint said what nobody asked for"),
    "keepalive_timeouts": Family("HTTP/2 connections to endpoints that answered no PING"),
    "stalled": Family("requests and answers that neither went on nor ended"),
    "replay_bodies_dropped": Family(
        "requests whose body was too large to be kept for a retry", ("bound",)
    ),
    "http2_faults": Family("HTTP/2 connections ended for what their peer did"),
    "detection_timeouts": Family("connections relayed because their client said nothing"),
    "access_log_dropped": Family("lines of the access log that nobody read in time"),
    "log_dropped": Family("lines of the process's log that nobody read in time"),
    "connections_refused": Family("connections refused", ("reason",)),
    "local_replies": Family("answers of the waypoint's own", ("details",)),
    "retry_decisions": Family("what was decided about failed attempts", ("decision",)),
    "filter_decisions": Family("what filters decided", ("decision",)),
    "label_sets_refused": Family("look-ups of labels that found no room", ("book",)),
    "cluster_overflows": Family("what circuit breakers refused", ("cluster", "resource")),
    "worker_starts": Family("worker processes started"),
}
#: What goes both ways.
GAUGES: Final = {
    "active_connections": Family("clients' connections", ("protocol",)),
    "label_sets": Family("sets of labels in use", ("book",)),
    "clusters_left_out": Family("clusters that there is no room to tell of"),
    "cluster_requests": Family("requests at endpoints now", ("cluster",)),
    "cluster_pending_requests": Family("requests that wait for a connection", ("cluster",)),
    "cluster_endpoints": Family(
        "endpoints, by whether they may have requests", ("cluster", "state")
    ),
    "cluster_breaker_open": Family(
        "clusters of this name whose circuit breaker lets nothing more through",
        ("cluster", "resource"),
    ),
}
#: Gauges of which processes have the same: the most counts, not the sum.
MOST_TOGETHER: Final = frozenset(
    {"cluster_endpoints", "cluster_breaker_open", "clusters_left_out", "label_sets"}
)


def exposition(snapshot: Snapshot) -> Iterator[str]:
    """All families, in pieces of text."""
    yield from requests(snapshot.requests)
    yield from counters(snapshot.streams, STREAM, STREAMS)
    yield from counters(snapshot.messages, MESSAGES, CALLS)
    yield from plain(snapshot.counts, "counter", COUNTS)
    yield from plain(snapshot.gauges, "gauge", GAUGES)


def requests(rows: Rows) -> Iterator[str]:
    """Requests, how long they took, and their bytes."""
    bare = [(pairs(REQUEST, labels), row) for labels, row in rows.items()]
    yield begin("istio_requests_total", "requests", "counter")
    for text, row in bare:
        yield f"istio_requests_total{{{text}}} {sum(row[DURATION : DURATION + SUM])}\n"
    for name, what, start in HISTOGRAMS:
        yield begin(name, what, "histogram")
        for text, row in bare:
            yield histogram(name, text, row[start : start + SUM], row[start + SUM])


def histogram(name: str, text: str, counts: Sequence[int], total: int) -> str:
    """One set of labels: a line for each bound, the sum, and how many there are."""
    number = 0
    lines = []
    for bound, number in zip(TEXTS, accumulate(counts), strict=True):
        lines.append(f'{name}_bucket{{{text},le="{bound}"}} {number}\n')
    lines.append(f"{name}_sum{{{text}}} {total}\n{name}_count{{{text}}} {number}\n")
    return "".join(lines)


def counters(
    rows: Rows, names: Sequence[str], families: Iterable[tuple[str, str, int]]
) -> Iterator[str]:
    """Families that are a number each; names: of the rows' labels."""
    bare = [(pairs(names, labels), row) for labels, row in rows.items()]
    for name, what, index in families:
        yield begin(f"{name}_total", what, "counter")
        yield from (f"{name}_total{{{text}}} {row[index]}\n" for text, row in bare)


def plain(numbers: dict[Series, int], kind: str, known: dict[str, Family]) -> Iterator[str]:
    """Families of the waypoint's own; one that isn't known has its name for a help."""
    grouped: dict[str, list[tuple[Sequence[str], int]]] = {name: [] for name in known}
    for series, number in numbers.items():
        grouped.setdefault(series[0], []).append((series[1:], number))
    for name, rows in grouped.items():
        family = known.get(name) or Family(name.replace("_", " "), ("what",))
        full = f"{PREFIX}{name}{'_total' if kind == 'counter' else ''}"
        yield begin(full, family.help, kind)
        for values, number in rows:
            text = labels_text(dict(zip(family.labels, values, strict=False)))
            yield f"{full}{text} {number}\n"


def begin(name: str, what: str, kind: str) -> str:
    """What goes before a family's lines."""
    return f"# HELP {name} {what}\n# TYPE {name} {kind}\n"


def pairs(names: Iterable[str], values: Iterable[str]) -> str:
    """Labels as they stand within braces."""
    return labels_text(dict(zip(names, values, strict=True)))[1:-1]
