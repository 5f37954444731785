"""`tandem enroll` and `tandem unenroll`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.cli.__main__ import main
from tests.support.control_api import ControlApi, control_api
from tests.support.fake_mesh import FakeMesh

CGROUP = Path("/sys/fs/cgroup/system.slice/db.service")


@pytest.fixture
def node(mesh: FakeMesh) -> Iterator[ControlApi]:
    """The agent of the mesh's only node."""
    folder = mesh.state / "nodes" / "node1"
    folder.mkdir(parents=True)
    with control_api(folder / "members.sock") as api:
        yield api


def test_a_cgroup_is_enrolled(
    mesh: FakeMesh, node: ControlApi, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"cgroup": str(CGROUP), "workload": "shop/db", "uid": "u"}
    node.answers["POST", "/members"] = (200, made)
    asked = ["--cgroup", str(CGROUP), "--workload", "shop/db"]
    assert main(["enroll", "--name", mesh.name, *asked]) == 0
    assert capsys.readouterr().out == f"{CGROUP} is shop/db\n"
    body = json.dumps({"cgroup": str(CGROUP), "workload": "shop/db"})
    assert node.asked == [("POST", "/members", body)]


def test_without_a_cgroup_those_that_are_enrolled_are_listed(
    mesh: FakeMesh, node: ControlApi, capsys: pytest.CaptureFixture[str]
) -> None:
    node.answers["GET", "/members"] = (200, [])
    assert main(["enroll", "--name", mesh.name]) == 0
    assert capsys.readouterr().err == "no cgroup is enrolled\n"
    row = {"cgroup": str(CGROUP), "workload": "shop/db", "uid": "u"}
    node.answers["GET", "/members"] = (200, [row])
    assert main(["enroll", "--name", mesh.name]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [str(CGROUP), "shop/db", "u"]


def test_what_the_agent_refuses_is_said(
    mesh: FakeMesh, node: ControlApi, capsys: pytest.CaptureFixture[str]
) -> None:
    node.answers["POST", "/members"] = (400, {"error": "there is no WorkloadEntry shop/db"})
    asked = ["--cgroup", str(CGROUP), "--workload", "shop/db"]
    assert main(["enroll", "--name", mesh.name, *asked]) == 1
    assert "there is no WorkloadEntry shop/db" in capsys.readouterr().err


def test_half_a_question_and_an_absent_agent_are_told(
    mesh: FakeMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    (mesh.state / "nodes" / "node1").mkdir(parents=True)
    assert main(["enroll", "--name", mesh.name, "--workload", "shop/db"]) == 1
    assert "go together" in capsys.readouterr().err
    assert main(["unenroll", "--name", mesh.name, "--cgroup", str(CGROUP)]) == 1
    assert "agent does not answer" in capsys.readouterr().err


def test_a_workload_has_a_namespace(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["enroll", "--cgroup", "/x", "--workload", "db"])
    assert "'db' is no NAMESPACE/NAME" in capsys.readouterr().err


def test_a_cgroup_is_taken_out(mesh: FakeMesh, node: ControlApi) -> None:
    node.answers["DELETE", "/members"] = (200, {})
    assert main(["unenroll", "--name", mesh.name, "--cgroup", "/sys/fs/cgroup/a b"]) == 0
    assert node.asked == [("DELETE", "/members?cgroup=%2Fsys%2Ffs%2Fcgroup%2Fa+b", "")]
