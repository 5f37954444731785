"""What this process counts, from its start on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass(slots=True)
class Stats:
    """Plain counters; refused and local are by reason."""

    connections: int = 0
    tcp_connections: int = 0
    requests: int = 0
    upstream_connections: int = 0
    connect_failures: int = 0
    #: Requests sent again on a fresh connection, where a reused one had died.
    retries_stale: int = 0
    #: A connection that was reused died under a request that couldn't be sent again.
    stale_not_retried: int = 0
    #: Copies of requests, and those that got no answer.
    mirrored: int = 0
    mirrors_failed: int = 0
    #: Bytes came on a connection that had no request.
    stray_bytes: int = 0
    #: HTTP/2 connections ended for what their peer did.
    http2_faults: int = 0
    #: HTTP/2 connections to endpoints that answered no PING in time.
    keepalive_timeouts: int = 0
    #: Connections whose client said nothing in time to tell the protocol by.
    detection_timeouts: int = 0
    #: Clients that neither went on nor went away.
    stalled: int = 0
    access_log_dropped: int = 0
    #: Connections refused, by why: no_peer, not_redirected, unknown_target,
    #: unknown_source, proxy_header, proxy_timeout, limit, overload, draining, no_route,
    #: policy, not_http.
    refused: dict[str, int] = field(default_factory=dict)
    #: Answers of our own, by the access log's details.
    local: dict[str, int] = field(default_factory=dict)
    #: What policies decided about failed attempts: requests sent again, by what they
    #: failed of; others by why not (unsafe, exhausted, overflow, body …).
    retries: dict[str, int] = field(default_factory=dict)
    #: What filters decided, by their words for it.
    filters: dict[str, int] = field(default_factory=dict)
    #: How often this process became overloaded and calm again: calm, tight, full.
    levels: dict[str, int] = field(default_factory=dict)

    def level(self, name: str) -> None:
        """Count a change of the load."""
        self.levels[name] = self.levels.get(name, 0) + 1

    def filter(self, *counts: str) -> None:
        """Count what filters decided."""
        filters = self.filters
        for what in counts:
            try:
                filters[what] += 1
            except KeyError:
                filters[what] = 1

    def retry(self, what: str) -> None:
        """Count a decision about a failed attempt."""
        self.retries[what] = self.retries.get(what, 0) + 1

    def refuse(self, reason: str) -> None:
        """Count a refused connection."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def answer(self, details: str) -> None:
        """Count an answer of our own."""
        self.local[details] = self.local.get(details, 0) + 1

    def dump(self) -> dict[str, object]:
        """All of it, JSON-able."""
        return asdict(self)
