from __future__ import annotations

from tests.e2e.samples.conftest import answers
from tests.support.mesh import MeshHandle

SAMPLE = "gray-release"


def test_sample(mesh: MeshHandle) -> None:
    found = answers(mesh, "/", 200)
    assert set(found) == {"200 v1", "200 v2"}
    assert found["200 v1"] > found["200 v2"]
