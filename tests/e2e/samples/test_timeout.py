from __future__ import annotations

from tests.e2e.samples.conftest import answers
from tests.support.mesh import MeshHandle

SAMPLE = "timeout"


def test_sample(mesh: MeshHandle) -> None:
    assert set(answers(mesh, "/slow", 1)) == {"504"}
    assert set(answers(mesh, "/", 1)) == {"200 v1"}
