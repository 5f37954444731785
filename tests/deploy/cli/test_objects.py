"""`tandem apply` and `tandem delete`."""

from __future__ import annotations

import io
from pathlib import Path
from urllib.parse import urlencode

import pytest

from deploy.cli.__main__ import main
from tests.support.fake_mesh import FakeMesh


def test_apply_prints_what_became_of_each_object(
    mesh: FakeMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.api.answers["POST", "/v1/apply"] = (
        200,
        {"results": [{"object": "httproute/bookinfo/reviews", "result": "configured"}]},
    )
    file = tmp_path / "route.yaml"
    file.write_text("kind: HTTPRoute\n")
    assert main(["apply", "--name", mesh.name, "-f", str(file)]) == 0
    assert capsys.readouterr().out == "httproute/bookinfo/reviews configured\n"
    path = "/v1/apply?" + urlencode({"file": str(file)})
    assert mesh.api.asked == [("POST", path, "kind: HTTPRoute\n")]


def test_delete_reads_standard_input(
    mesh: FakeMesh, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.api.answers["POST", "/v1/delete"] = (200, {"results": []})
    monkeypatch.setattr("sys.stdin", io.StringIO("kind: Service\n"))
    assert main(["delete", "--name", mesh.name, "-f", "-"]) == 0
    assert mesh.api.asked[0][2] == "kind: Service\n"
    assert capsys.readouterr().err == "-: no objects\n"


def test_refusal_is_one_line_and_status_1(
    mesh: FakeMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.api.answers["POST", "/v1/apply"] = (400, {"error": "line 7: spec.ports:\n no list"})
    file = tmp_path / "bad.yaml"
    file.write_text("x")
    assert main(["apply", "--name", mesh.name, "-f", str(file)]) == 1
    assert capsys.readouterr().err == "tandem: line 7: spec.ports: no list\n"


def test_unreadable_file_is_named_before_anything_is_sent(
    mesh: FakeMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = tmp_path / "good.yaml"
    good.write_text("x")
    missing = str(tmp_path / "missing.yaml")
    assert main(["apply", "--name", mesh.name, "-f", str(good), "-f", missing]) == 1
    assert f"cannot read {missing}" in capsys.readouterr().err
    assert mesh.api.asked == []
