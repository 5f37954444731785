"""What a user sees when something can't be done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.cli.__main__ import main
from deploy.standalone.config import MeshConfig
from tests.support.fake_mesh import FakeMesh

TANDEM = [sys.executable, "-m", "deploy.cli"]


@pytest.mark.parametrize(
    "words",
    [["get", "pods"], ["logs", "x"], ["exec", "x", "--", "y"], ["dump", "node"], ["down"]],
)
def test_no_mesh_says_how_to_start_one(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([words[0], "--name", "nosuchmesh", *words[1:]]) == 1
    assert capsys.readouterr().err == (
        "tandem: no mesh named nosuchmesh is running:"
        " start one with `tandem up --name nosuchmesh -f DIR`\n"
    )


def test_control_plane_that_does_not_answer(
    mesh: FakeMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    (mesh.state / "control.sock").unlink()
    assert main(["get", "pods", "--name", mesh.name]) == 1
    said = capsys.readouterr().err
    assert f"the control plane of mesh {mesh.name} does not answer" in said
    assert f"{mesh.state}/logs/control.log" in said


def test_killed_run_says_how_to_clean(
    mesh: FakeMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    MeshConfig(name=mesh.name).lock_file.unlink()
    assert main(["get", "pods", "--name", mesh.name]) == 1
    assert f"`tandem clean --name {mesh.name}`" in capsys.readouterr().err


def test_exec_without_a_command(mesh: FakeMesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exec", "--name", mesh.name, "x"]) == 1
    assert capsys.readouterr().err == "tandem: no command: use tandem exec POD -- CMD …\n"


def test_reader_that_has_enough_is_no_error(mesh: FakeMesh) -> None:
    log = mesh.pod("a", "b") / "log"
    log.write_text("line\n" * 200_000)
    with subprocess.Popen(
        [*TANDEM, "logs", "--name", mesh.name, "b"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, b"")


def test_broken_record_is_named(mesh: FakeMesh, capsys: pytest.CaptureFixture[str]) -> None:
    folder = mesh.pod("a", "b")
    (folder / "pod.json").write_text("{}")
    assert main(["logs", "--name", mesh.name, "b"]) == 1
    assert f"{folder}/pod.json is not a pod's record" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("tandem 0.")


def test_entry_point_is_the_module(tmp_path: Path) -> None:
    done = subprocess.run([*TANDEM, "version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tandem ")
