"""Waiting for a mesh, and saying what it waits for."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from deploy.demo.console import Console
from deploy.demo.errors import StoryError
from deploy.demo.mesh import DemoMesh
from deploy.standalone.config import MeshConfig


class FakeUp(DemoMesh):
    """A mesh whose `tandem` is another program."""

    def __init__(self, program: str, out: io.StringIO) -> None:
        super().__init__(MeshConfig(name="nosuchmesh"), Path("/nowhere"), Console(out))
        self._program = program

    def tandem(self, command: str, *arguments: str) -> list[str]:
        return [sys.executable, "-c", self._program]


def test_waits_until_nothing_is_missing() -> None:
    answers = iter(["first", "second", None])
    mesh = FakeUp("import time; time.sleep(60)", io.StringIO())
    mesh.start()
    mesh.wait("it", 10, lambda: next(answers))
    with pytest.raises(StoryError, match="status -15"):
        mesh.stop()


def test_end_of_the_mesh_is_told_with_its_last_words() -> None:
    out = io.StringIO()
    mesh = FakeUp("import sys; sys.exit('no such kernel')", out)
    mesh.start()
    with pytest.raises(StoryError) as caught:
        mesh.wait("the mesh", 10, lambda: "something")
    assert str(caught.value) == "the mesh: tandem up ended: no such kernel"
    assert "   no such kernel\n" in out.getvalue()


def test_what_is_late_is_told() -> None:
    mesh = FakeUp("import time; time.sleep(60)", io.StringIO())
    mesh.start()
    with pytest.raises(StoryError, match="pods: not within 0 s: 3 pods"):
        mesh.wait("pods", 0.3, lambda: "3 pods")
    with pytest.raises(StoryError):
        mesh.stop()


def test_stop_without_start_is_nothing() -> None:
    FakeUp("", io.StringIO()).stop()
