"""A snapshot of this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Final

from waypoint.cluster import Cluster
from waypoint.metrics.snapshot import Series, Snapshot
from waypoint.resilience.breakers import Resource
from waypoint.worker import Worker

#: Words of one plain counter; what the others are summed under; and clusters that are
#: told of.
MOST_WORDS: Final = 1000
OTHER: Final = "other"
MOST_CLUSTERS: Final = 1000
#: Plain counters whose names say too little outside of this process.
NAMES: Final = {
    "filters": "filter_decisions",
    "local": "local_replies",
    "refused": "connections_refused",
    "retries": "retry_decisions",
}


def gather(worker: Worker, life: int, log_dropped: int) -> Snapshot:
    """Everything as it is now; life: of this process; log_dropped: lines of its log."""
    for relay in worker.relays:
        relay.tell()
    for call in worker.calls:
        # Whose messages they are is known once there is an endpoint.
        if call.visited is not None:
            call.tell()
    recorder = worker.recorder
    books = {
        "requests": recorder.requests,
        "streams": recorder.streams,
        "messages": recorder.messages,
    }
    counts = [*stats(worker), (("log_dropped",), log_dropped)]
    replays = worker.replays
    counts += [
        (("replay_bodies_dropped", "request"), replays.lost_large),
        (("replay_bodies_dropped", "worker"), replays.lost_full),
    ]
    counts += [(("label_sets_refused", name), book.overflows) for name, book in books.items()]
    gauges: list[tuple[Series, int]] = [
        (("active_connections", "http"), len(worker.downstreams)),
        (("active_connections", "tcp"), len(worker.relays)),
        (("active_connections", "undecided"), len(worker.undecided)),
        *((("label_sets", name), len(book.rows)) for name, book in books.items()),
    ]
    # One that never had a request has nothing to tell.
    used = [each for each in worker.targets.clusters.clusters.values() if each.traffic]
    gauges.append((("clusters_left_out",), max(0, len(used) - MOST_CLUSTERS)))
    for cluster in used[:MOST_CLUSTERS]:
        counts += overflows(cluster)
        gauges += load(cluster)
    rows = {name: book.copy() for name, book in books.items()}
    return Snapshot(life, **rows, counts=summed(counts), gauges=summed(gauges))


def stats(worker: Worker) -> Iterator[tuple[Series, int]]:
    """The plain counters, by their names."""
    for each in fields(worker.stats):
        name, value = NAMES.get(each.name, each.name), getattr(worker.stats, each.name)
        if isinstance(value, dict):
            for index, (what, number) in enumerate(value.items()):
                yield (name, what if index < MOST_WORDS else OTHER), number
        else:
            yield (name,), value


def overflows(cluster: Cluster) -> Iterator[tuple[Series, int]]:
    """What a cluster's circuit breakers have refused."""
    for breaker in (cluster.breakers.default, cluster.breakers.high):
        for resource in Resource:
            if number := breaker.overflows[resource]:
                yield ("cluster_overflows", cluster.name, resource.title), number


def load(cluster: Cluster) -> Iterator[tuple[Series, int]]:
    """What a cluster has now, and who of its endpoints may have requests."""
    name, breaker = cluster.name, cluster.breakers.default
    yield ("cluster_requests", name), breaker.counts[Resource.REQUESTS]
    yield ("cluster_pending_requests", name), breaker.counts[Resource.PENDING]
    states = {"healthy": 0, "ejected": 0, "unhealthy": 0}
    for member in cluster.members.values():
        state = "healthy" if member.healthy else "unhealthy"
        states["ejected" if member.ejected else state] += 1
    for state, number in states.items():
        yield ("cluster_endpoints", name, state), number
    for resource in Resource:
        if not breaker.has_room(resource):
            yield ("cluster_breaker_open", name, resource.title), 1


def summed(rows: Iterable[tuple[Series, int]]) -> dict[Series, int]:
    """Sums by series: services of several namespaces may have clusters of one name."""
    found: dict[Series, int] = {}
    for series, number in rows:
        found[series] = found.get(series, 0) + number
    return found
