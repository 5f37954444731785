"""The client of the control API, against a socket that answers as told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.standalone.client import (
    Applied,
    ControlClient,
    ControlRefusedError,
    ControlUnreachableError,
    Table,
)
from tests.support.control_api import ControlApi, control_api


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def api(socket: Path) -> Iterator[ControlApi]:
    with control_api(socket) as served:
        yield served


def test_table_has_texts_whatever_the_cells_are(socket: Path, api: ControlApi) -> None:
    api.answers["GET", "/v1/get/pods"] = (
        200,
        {"columns": ["NAME", "RESTARTS", "IP"], "rows": [["a", 0, None]]},
    )
    table = ControlClient(socket).table("pods")
    assert table == Table(("NAME", "RESTARTS", "IP"), (("a", "0", ""),))
    assert table.records() == [{"NAME": "a", "RESTARTS": "0", "IP": ""}]


def test_snapshot_polls_only_with_a_version(socket: Path, api: ControlApi) -> None:
    api.answers["GET", "/v1/snapshot"] = (200, {"version": "7", "pods": []})
    client = ControlClient(socket)
    assert client.snapshot()["version"] == "7"
    client.snapshot("7", wait=0.5)
    assert [path for _, path, _ in api.asked] == [
        "/v1/snapshot?",
        "/v1/snapshot?version=7&wait=0.5",
    ]


@pytest.mark.parametrize("verb", ["apply", "delete"])
def test_apply_and_delete_send_the_text(socket: Path, api: ControlApi, verb: str) -> None:
    api.answers["POST", f"/v1/{verb}"] = (
        200,
        {"results": [{"object": "service/a/b", "result": "done"}]},
    )
    sent = getattr(ControlClient(socket), verb)("kind: Service\nname: ü\n")
    assert sent == [Applied("service/a/b", "done")]
    assert api.asked == [("POST", f"/v1/{verb}", "kind: Service\nname: ü\n")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"error": "a.yaml:3: spec.ports: 7 is no list"}, "a.yaml:3: spec.ports: 7 is no list"),
        (b"oops", "oops"),
        (b"", "HTTP status 400"),
        ([], "[]"),
    ],
)
def test_refusal_carries_the_control_planes_own_words(
    socket: Path, api: ControlApi, content: object, message: str
) -> None:
    api.answers["POST", "/v1/apply"] = (400, content)
    with pytest.raises(ControlRefusedError) as caught:
        ControlClient(socket).apply("x")
    assert (str(caught.value), caught.value.status) == (message, 400)


def test_rotate_root(socket: Path, api: ControlApi) -> None:
    api.answers["POST", "/v1/roots/rotate"] = (200, {"step": "published"})
    assert ControlClient(socket).rotate_root() == {"step": "published"}


def test_dump(socket: Path, api: ControlApi) -> None:
    api.answers["GET", "/v1/dump"] = (200, {"services": {}})
    assert ControlClient(socket).dump() == {"services": {}}


def test_nothing_listening_is_unreachable(socket: Path) -> None:
    with pytest.raises(ControlUnreachableError) as caught:
        ControlClient(socket).dump()
    assert caught.value.path == socket
    assert str(socket) in str(caught.value)
