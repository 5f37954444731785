from __future__ import annotations

from tests.e2e.samples.conftest import answers
from tests.support.mesh import MeshHandle

SAMPLE = "canary-by-header"


def test_sample(mesh: MeshHandle) -> None:
    assert set(answers(mesh, "/", 20)) == {"200 v1"}
    assert set(answers(mesh, "/", 20, "-H", "x-canary: yes")) == {"200 v2"}
