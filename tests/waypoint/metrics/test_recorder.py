from __future__ import annotations

from bisect import bisect_left

import pytest

from waypoint.cluster import Cluster
from waypoint.member import Member
from waypoint.metrics.labels import MESSAGES, REQUEST, STREAM, client_of
from waypoint.metrics.recorder import (
    BOUNDS,
    CLOSED,
    DURATION_SUM,
    HISTOGRAM,
    INDEX,
    MOST_KNOWN,
    OPENED,
    RECEIVED_SUM,
    SENT_SUM,
    SMALL,
    STREAM_RECEIVED,
    STREAM_SENT,
    SUM,
    Recorder,
)
from ztunnel_compat.istio_labels import called
from ztunnel_compat.model import Service, Workload

CLIENT = client_of(None, None, tunnelled=False)


def cluster(namespace: str = "shop") -> Cluster:
    made = Cluster(namespace, "c", 80, "web.shop.svc", now=float, drawn=float)
    made.called = called(Service("web", "shop", "web.shop.svc"))
    return made


def member(of: Cluster, name: str = "web") -> Member:
    made = Member(of, "10.0.0.1", 80, 0.0)
    made.workload = Workload(name, namespace="shop", workload_name=name)
    return made


def label(recorder: Recorder, name: str) -> set[str]:
    return {dict(zip(REQUEST, labels, strict=True))[name] for labels in recorder.requests.rows}


@pytest.mark.parametrize("number", [0, 1, 2, 5, 6, 999, 1000, 1001, 2500, 3600000, 3600001])
def test_numbers_are_under_their_bounds(number: int) -> None:
    recorder = Recorder()
    recorder.count((CLIENT, cluster(), False, 200, "-", None), number, number, number)
    (row,) = recorder.requests.rows.values()
    for start in (0, HISTOGRAM, 2 * HISTOGRAM):
        counts = row[start : start + SUM]
        assert sum(counts) == 1
        assert counts.index(1) == bisect_left(BOUNDS, number)
    assert (row[DURATION_SUM], row[RECEIVED_SUM], row[SENT_SUM]) == (number,) * 3


def test_small_numbers_are_looked_up_to_the_same_end() -> None:
    assert list(INDEX) == [bisect_left(BOUNDS, number) for number in range(SMALL + 1)]


def test_equal_requests_share_a_row_and_others_don_t() -> None:
    recorder = Recorder()
    endpoint = member(cluster())
    for key in (
        (CLIENT, endpoint, False, 200, "-", None),
        (CLIENT, endpoint, False, 200, "-", None),
        (CLIENT, endpoint, False, 503, "UF", None),
        (CLIENT, endpoint, True, 200, "-", b"0"),
        (CLIENT, endpoint.cluster, False, 200, "-", None),
    ):
        recorder.count(key, 1, 2, 3)
    totals = sorted(sum(row[:SUM]) for row in recorder.requests.rows.values())
    assert totals == [1, 1, 1, 2]
    assert label(recorder, "destination_workload") == {"web", "unknown"}
    assert label(recorder, "destination_service_name") == {"web"}


def test_a_workload_s_own_port_is_of_no_service() -> None:
    recorder = Recorder()
    recorder.count((CLIENT, member(cluster("")), False, 200, "-", None), 1, 2, 3)
    assert label(recorder, "destination_service_name") == {"unknown"}
    assert label(recorder, "destination_workload") == {"web"}


def test_what_changed_in_the_mesh_is_seen() -> None:
    recorder = Recorder()
    endpoint = member(cluster())
    key = (CLIENT, endpoint, False, 200, "-", None)
    recorder.count(key, 1, 2, 3)
    endpoint.workload = Workload("v2", workload_name="v2")
    recorder.renew()
    recorder.count(key, 1, 2, 3)
    assert label(recorder, "destination_workload") == {"web", "v2"}


def test_a_forgotten_row_gets_no_more_counts() -> None:
    recorder = Recorder()
    key = (CLIENT, cluster(), False, 200, "-", None)
    recorder.count(key, 1, 2, 3)
    recorder.forget(0.0)
    recorder.forget(1e9)
    assert not recorder.requests.rows
    recorder.count(key, 1, 2, 3)
    (row,) = recorder.requests.rows.values()
    assert sum(row[:SUM]) == 1


def test_what_is_remembered_is_bounded() -> None:
    recorder = Recorder()
    place = cluster()
    for number in range(MOST_KNOWN + 10):
        recorder.count((CLIENT, place, True, 200, "-", b"%d" % (100 + number)), 1, 2, 3)
    assert len(recorder.known) <= MOST_KNOWN
    (row,) = recorder.requests.rows.values()
    assert sum(row[:SUM]) == MOST_KNOWN + 10


def test_messages_by_who_asked_whom() -> None:
    recorder = Recorder()
    endpoint = member(cluster())
    recorder.called((CLIENT, endpoint), 1, 2)
    recorder.called((CLIENT, endpoint), 3, 4)
    recorder.called((CLIENT, endpoint.cluster), 5, 6)
    named = {labels[MESSAGES.index("destination_workload")]: row
             for labels, row in recorder.messages.rows.items()}  # fmt: skip
    assert named == {"web": [4, 6], "unknown": [5, 6]}
    endpoint.workload = Workload("v2", workload_name="v2")
    recorder.renew()
    recorder.called((CLIENT, endpoint), 1, 0)
    assert [1, 0] in recorder.messages.rows.values()


def test_a_forgotten_row_of_messages_gets_no_more_counts() -> None:
    recorder = Recorder()
    pair = (CLIENT, cluster())
    recorder.called(pair, 1, 2)
    recorder.forget(0.0)
    recorder.forget(1e9)
    assert not recorder.messages.rows
    recorder.called(pair, 3, 4)
    assert list(recorder.messages.rows.values()) == [[3, 4]]


def test_what_is_remembered_of_calls_is_bounded() -> None:
    recorder = Recorder()
    for _ in range(MOST_KNOWN + 10):
        recorder.called((CLIENT, cluster()), 1, 1)
    assert len(recorder.pairs) <= MOST_KNOWN
    assert list(recorder.messages.rows.values()) == [[MOST_KNOWN + 10] * 2]


def test_a_connection_is_opened_moves_bytes_and_is_closed() -> None:
    recorder = Recorder()
    labels = recorder.opened(CLIENT, member(cluster()))
    recorder.moved(labels, 5, 7)
    recorder.moved(labels, 1, 1)
    (row,) = recorder.streams.rows.values()
    assert (row[OPENED], row[CLOSED], row[STREAM_RECEIVED], row[STREAM_SENT]) == (1, 0, 6, 8)
    recorder.closed(labels)
    assert row[CLOSED] == 1
    assert dict(zip(STREAM, labels, strict=True))["destination_workload"] == "web"
