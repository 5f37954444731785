from __future__ import annotations

from dataclasses import replace

from bpf.layout import FlowFlag, TrafficKey
from daemon.telemetry.labels import NAMES, points_of_view
from tests.daemon.telemetry.scene import CLIENT, KEY, LABELS, VISIT, WEB1, names_of, scene
from ztunnel_compat.istio_labels import Labels

HERE = {CLIENT, WEB1}


def views(key: TrafficKey, local: set[int]) -> tuple[Labels | None, Labels | None]:
    return points_of_view(key, names_of(scene()), local)


def named(labels: Labels | None) -> dict[str, str]:
    assert labels is not None
    return dict(zip(NAMES, labels, strict=True))


def test_both_ends_have_all_labels() -> None:
    source, destination = views(KEY, HERE)
    assert named(source) == LABELS | {"reporter": "source"}
    assert named(destination) == LABELS | {"reporter": "destination"}


def test_another_node_reports_its_own_end_and_vouches_for_itself() -> None:
    source, destination = views(KEY, {CLIENT})
    assert destination is None
    assert named(source)["connection_security_policy"] == "unknown"


def test_a_visitor_is_unknown_and_reported_by_the_destination() -> None:
    source, destination = views(VISIT, HERE)
    assert source is None
    told = named(destination)
    assert {told[name] for name in NAMES if name.startswith("source_")} == {"unknown"}
    assert told["destination_workload"] == "web"
    assert told["destination_service"] == "unknown"
    assert told["connection_security_policy"] == "unknown"


def test_a_workload_called_by_its_address_has_no_service() -> None:
    source, _ = views(replace(KEY, flags=0), HERE)
    assert named(source)["destination_service_name"] == "unknown"


def test_outside_of_the_mesh_is_unknown() -> None:
    source, destination = views(TrafficKey(CLIENT, 0, 0, FlowFlag.OUTSIDE), HERE)
    assert named(source)["destination_workload"] == "unknown"
    assert destination is None


def test_what_found_no_room_is_shown_as_unknown() -> None:
    source, destination = views(TrafficKey(), HERE)
    assert named(source)["source_workload"] == "unknown"
    assert destination is None
