"""What the demo asks about pods."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.cli.pods import PodRecord
from deploy.demo.errors import StoryError
from deploy.demo.pods import (
    expected_pods,
    is_ready,
    not_yet_endpoint,
    still_endpoint,
    unready,
    victim,
)
from tests.support.bookinfo import SAMPLE


@pytest.mark.parametrize(
    ("ready", "expected"), [("1/1", True), ("0/1", False), ("2/2", True), ("", False)]
)
def test_ready(ready: str, *, expected: bool) -> None:
    assert is_ready({"READY": ready}) is expected


def test_unready_names_what_is_missing() -> None:
    rows = [{"NAME": "a", "READY": "1/1"}, {"NAME": "b", "READY": "0/1"}]
    assert unready(rows, 3) == "2 of 3 pods are there"
    assert unready(rows, 2) == "1 of 2 pods are ready; not b"
    assert unready(rows[:1], 1) is None


def test_expected_pods_of_the_sample() -> None:
    assert expected_pods(SAMPLE) == 8


def record(name: str, pid: int | None) -> PodRecord:
    return PodRecord("bookinfo", name, "node1", "/run/netns/x", Path("/x"), pid)


def test_victim_is_a_running_pod_of_the_deployment() -> None:
    pods = [record("web-v1-a1-0", 1), record("web-v2-a1-0", None), record("web-v2-a1-1", 3)]
    assert victim(pods, "web-v2") == ("web-v2-a1-1", 3)
    with pytest.raises(StoryError, match="no pod of web runs"):
        victim(pods, "web")


def test_still_endpoint_names_the_service() -> None:
    gone = {
        "name": "a",
        "endpoints": [{"pod": "p", "ready": False}, {"pod": "q", "ready": True}],
    }
    there = {"name": "b", "endpoints": [{"pod": "p", "ready": True}]}
    assert still_endpoint({"services": [gone]}, "p") is None
    assert still_endpoint({"services": [gone, there]}, "p") == "p is still an endpoint of b"
    assert not_yet_endpoint({"services": [gone]}, "p") == "p is no endpoint yet"
    assert not_yet_endpoint({"services": [there]}, "p") is None
