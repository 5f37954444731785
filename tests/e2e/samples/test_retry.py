from __future__ import annotations

from tests.e2e.samples.conftest import answers
from tests.support.mesh import MeshHandle

SAMPLE = "retry"


def test_sample(mesh: MeshHandle) -> None:
    assert set(answers(mesh, "/", 40)) == {"200 v1"}
