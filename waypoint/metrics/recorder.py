"""Counts requests and connections under Istio's labels, as they end.

A request costs one look-up and six additions: what its labels are made of is compared by
identity, and the labels themselves are made when they are met for the first time.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from waypoint.cluster import Cluster
from waypoint.member import Member
from waypoint.metrics.book import Book
from waypoint.metrics.labels import (
    Client,
    message_labels,
    other_messages,
    other_request,
    other_stream,
    request_labels,
    stream_labels,
)
from ztunnel_compat.istio_labels import UNKNOWN, Labels
from ztunnel_compat.model import Workload

#: The histograms' bounds, Envoy's, by which Istio's dashboards calculate. The numbers
#: are whole, so that at most 0 is what is at most 0.5.
BOUNDS: Final = (
    0, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000,
    600000, 1800000, 3600000,
)  # fmt: skip
#: Which bound small numbers are under, as most are: half of what a search takes.
SMALL: Final = 1000
INDEX: Final = bytes(bisect_left(BOUNDS, number) for number in range(SMALL + 1))
#: A histogram is a count for each bound, one for what is above them all, and the sum.
HISTOGRAM: Final = len(BOUNDS) + 2
SUM: Final = len(BOUNDS) + 1
#: Where the histograms are in a row: milliseconds, request's bytes, response's bytes.
DURATION: Final = 0
RECEIVED: Final = HISTOGRAM
SENT: Final = 2 * HISTOGRAM
REQUEST_SIZE: Final = 3 * HISTOGRAM
DURATION_SUM: Final = DURATION + SUM
RECEIVED_SUM: Final = RECEIVED + SUM
SENT_SUM: Final = SENT + SUM
#: What is in a row of a connection's labels.
OPENED, CLOSED, STREAM_RECEIVED, STREAM_SENT = range(4)
STREAM_SIZE: Final = 4
#: What is in a row of gRPC's messages.
ASKED, ANSWERED = range(2)
MESSAGES_SIZE: Final = 2
#: Rows that are known by what their labels are made of.
MOST_KNOWN: Final = 8192

#: The endpoint that was last tried; without one, the cluster.
Place = Member | Cluster
#: Client and place; gRPC or not, status, response flags and gRPC's status.
Key = tuple[Client, Place, bool, int, str, bytes | None]
Pair = tuple[Client, Place]


class Recorder:
    """The books of one process."""

    __slots__ = ("known", "messages", "pairs", "requests", "streams")

    def __init__(self) -> None:
        self.requests = Book(REQUEST_SIZE, other_request)
        self.streams = Book(STREAM_SIZE, other_stream)
        self.messages = Book(MESSAGES_SIZE, other_messages)
        self.known: dict[Key, list[int]] = {}
        self.pairs: dict[Pair, list[int]] = {}

    def count(self, key: Key, milliseconds: int, received: int, sent: int) -> None:
        """A request is over; received, sent: bytes of its body and of the response's."""
        row = self.known.get(key)
        if row is None:
            row = self.find(key)
        small = milliseconds <= SMALL
        row[INDEX[milliseconds] if small else bisect_left(BOUNDS, milliseconds)] += 1
        row[DURATION_SUM] += milliseconds
        if received:
            row[RECEIVED + bisect_left(BOUNDS, received)] += 1
            row[RECEIVED_SUM] += received
        else:
            row[RECEIVED] += 1
        row[SENT + (INDEX[sent] if sent <= SMALL else bisect_left(BOUNDS, sent))] += 1
        row[SENT_SUM] += sent

    def find(self, key: Key) -> list[int]:
        """The row of a request's labels."""
        if len(self.known) >= MOST_KNOWN:
            self.known.clear()
        client, place, *_ = key
        labels = request_labels(client, service_of(place), endpoint_of(place), key[2:])
        row = self.known[key] = self.requests.row(labels)
        return row

    def called(self, pair: Pair, asked: int, answered: int) -> None:
        """So many messages of a gRPC call went to the endpoint, and to the client."""
        row = self.pairs.get(pair)
        if row is None:
            if len(self.pairs) >= MOST_KNOWN:
                self.pairs.clear()
            client, place = pair
            labels = message_labels(client, service_of(place), endpoint_of(place))
            row = self.pairs[pair] = self.messages.row(labels)
        row[ASKED] += asked
        row[ANSWERED] += answered

    def opened(self, client: Client, place: Place, flags: str = "-") -> Labels:
        """A connection came about; the labels that the rest of it is counted under."""
        labels = stream_labels(client, service_of(place), endpoint_of(place), flags)
        self.streams.row(labels)[OPENED] += 1
        return labels

    def moved(self, labels: Labels, received: int, sent: int) -> None:
        """So many bytes more went to the endpoint, and to the client."""
        row = self.streams.row(labels)
        row[STREAM_RECEIVED] += received
        row[STREAM_SENT] += sent

    def closed(self, labels: Labels) -> None:
        """A connection that was counted as opened is over."""
        self.streams.row(labels)[CLOSED] += 1

    def renew(self) -> None:
        """The mesh has changed: what labels are made of may mean others now."""
        self.known.clear()
        self.pairs.clear()

    def forget(self, now: float) -> None:
        """Drop what hasn't changed for long."""
        if self.requests.forget(now):
            self.known.clear()
        if self.messages.forget(now):
            self.pairs.clear()
        self.streams.forget(now)


def service_of(place: Place) -> Labels:
    """The labels of the service that a cluster is of; those of none for a workload's."""
    cluster = place.cluster if isinstance(place, Member) else place
    if not cluster.namespace:
        return (UNKNOWN, UNKNOWN, UNKNOWN)
    return cluster.called


def endpoint_of(place: Place) -> Workload | None:
    """The workload that an endpoint is of."""
    return place.workload if isinstance(place, Member) else None
