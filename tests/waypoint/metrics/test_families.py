from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.waypoint.metrics.test_recorder import CLIENT, cluster, member
from waypoint.metrics.families import COUNTS, GAUGES, exposition
from waypoint.metrics.recorder import BOUNDS, Recorder
from waypoint.metrics.snapshot import Snapshot


def told(snapshot: Snapshot) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Samples by their names, as Prometheus reads them."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families("".join(exposition(snapshot))):
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_requests_are_a_counter_and_three_histograms() -> None:
    recorder = Recorder()
    endpoint = member(cluster())
    for milliseconds in (0, 3, 3, 700, 10**9):
        recorder.count((CLIENT, endpoint, False, 200, "-", None), milliseconds, 10, 2000)
    found = told(Snapshot(requests=recorder.requests.copy()))
    ((labels, value),) = found["istio_requests_total"]
    assert value == 5
    assert labels["response_code"] == "200"
    assert labels["destination_service"] == "web.shop.svc"
    buckets = [
        (each["le"], value)
        for each, value in found["istio_request_duration_milliseconds_bucket"]
    ]
    assert len(buckets) == len(BOUNDS) + 1
    known = dict(buckets)
    assert (known["0.5"], known["1"], known["5"], known["500"]) == (1, 1, 3, 3)
    assert (known["1000"], known["3600000"], known["+Inf"]) == (4, 4, 5)
    assert found["istio_request_duration_milliseconds_sum"][0][1] == 706 + 10**9
    for name in ("duration_milliseconds", "bytes"):
        assert found[f"istio_request_{name}_count"] == [(labels, 5)]
    assert found["istio_response_bytes_sum"] == [(labels, 10000)]


def test_connections_have_istio_s_four() -> None:
    recorder = Recorder()
    labels = recorder.opened(CLIENT, member(cluster()))
    recorder.moved(labels, 3, 4)
    found = told(Snapshot(streams=recorder.streams.copy()))
    values = {name: rows[0][1] for name, rows in found.items() if rows and "tcp" in name}
    assert values == {
        "istio_tcp_connections_opened_total": 1,
        "istio_tcp_connections_closed_total": 0,
        "istio_tcp_received_bytes_total": 3,
        "istio_tcp_sent_bytes_total": 4,
    }


def test_grpc_s_messages_are_istio_s_two() -> None:
    recorder = Recorder()
    recorder.called((CLIENT, member(cluster())), 3, 4)
    recorder.called((CLIENT, member(cluster())), 1, 0)
    found = told(Snapshot(messages=recorder.messages.copy()))
    ((labels, asked),) = found["istio_request_messages_total"]
    assert found["istio_response_messages_total"] == [(labels, 4)]
    assert asked == 4
    assert labels["destination_service_name"] == "web"
    assert labels.keys() & {"response_code", "request_protocol", "response_flags"} == set()


def test_what_the_waypoint_counts_is_told_by_its_names() -> None:
    counts = {
        ("connections_refused", "no_peer"): 2,
        ("connections_refused", 'a"b\\'): 1,
        ("stray_bytes",): 3,
        ("a_new_one", "x"): 4,
        ("cluster_overflows", "c", "requests"): 5,
    }
    gauges = {("active_connections", "tcp"): 6}
    found = told(Snapshot(counts=counts, gauges=gauges))
    assert found["tandem_waypoint_connections_refused_total"] == [
        ({"reason": "no_peer"}, 2), ({"reason": 'a"b\\'}, 1),
    ]  # fmt: skip
    assert found["tandem_waypoint_stray_bytes_total"] == [({}, 3)]
    assert found["tandem_waypoint_a_new_one_total"] == [({"what": "x"}, 4)]
    assert found["tandem_waypoint_cluster_overflows_total"] == [
        ({"cluster": "c", "resource": "requests"}, 5)
    ]
    assert found["tandem_waypoint_active_connections"] == [({"protocol": "tcp"}, 6)]


def test_every_family_says_what_it_is() -> None:
    text = "".join(exposition(Snapshot()))
    for name, family in COUNTS.items():
        assert f"# HELP tandem_waypoint_{name}_total {family.help}\n" in text
    for name, family in GAUGES.items():
        assert f"# HELP tandem_waypoint_{name} {family.help}\n" in text
