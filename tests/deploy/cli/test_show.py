"""`tandem get` and `tandem logs` against a fake mesh."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from deploy.cli import show
from deploy.cli.__main__ import main
from tests.support.fake_mesh import FakeMesh

PODS = {
    "columns": ["NAMESPACE", "NAME", "READY"],
    "rows": [["bookinfo", "details-v1", "1/1"], ["demo", "traffic", "0/1"]],
}


def test_get_as_table_and_json(mesh: FakeMesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.api.answers["GET", "/v1/get/pods"] = (200, PODS)
    assert main(["get", "pods", "--name", mesh.name]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "bookinfo    details-v1   1/1"
    assert main(["get", "pods", "--name", mesh.name, "-n", "demo", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "columns": ["NAME", "READY"],
        "rows": [["traffic", "0/1"]],
    }


def test_get_nothing_says_so(mesh: FakeMesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.api.answers["GET", "/v1/get/routes"] = (200, {"columns": ["NAME"], "rows": []})
    assert main(["get", "routes", "--name", mesh.name]) == 0
    assert capsys.readouterr() == ("", "no routes\n")


def test_logs_by_prefix_with_tail(
    mesh: FakeMesh, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    mesh.pod("bookinfo", "details-v1-x").joinpath("log").write_bytes(b"one\ntwo\n\xffthree\n")
    assert main(["logs", "--name", mesh.name, "det", "--tail", "2"]) == 0
    assert capfdbinary.readouterr().out == b"two\n\xffthree\n"


def test_logs_of_a_silent_pod(mesh: FakeMesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.pod("bookinfo", "details-v1-x")
    assert main(["logs", "--name", mesh.name, "details"]) == 1
    assert "has written nothing yet" in capsys.readouterr().err


def test_logs_follow_until_the_pod_is_gone(mesh: FakeMesh) -> None:
    log = mesh.pod("bookinfo", "details-v1-x") / "log"
    log.write_text("one\n")
    with subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "logs", "-f", "--name", mesh.name, "details"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        with log.open("a") as file:
            file.write("two\n")
        assert process.stdout.readline() == "two\n"
        log.unlink()
        assert process.stdout.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("content", "lines", "tail"),
    [
        (b"a\nb\nc\n", 1, b"c\n"),
        (b"a\nb\nc", 1, b"c"),
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc\n", 9, b"a\nb\nc\n"),
        (b"a\nb\n", 0, b""),
        (b"a\nb\n", None, b"a\nb\n"),
        (b"", 3, b""),
        (b"\n\n\n", 2, b"\n\n"),
    ],
)
def test_tail(
    content: bytes, lines: int | None, tail: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for chunk in (1, 2, 3, 65536):
        monkeypatch.setattr(show, "CHUNK", chunk)
        assert content[show.tail_offset(io.BytesIO(content), lines) :] == tail
