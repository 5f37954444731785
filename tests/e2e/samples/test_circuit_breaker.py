from __future__ import annotations

from tests.e2e.samples.conftest import answers
from tests.support.mesh import MeshHandle

SAMPLE = "circuit-breaker"


def test_sample(mesh: MeshHandle) -> None:
    found = answers(
        mesh, "/slow", 10, "--parallel", "--parallel-immediate", "--parallel-max", "10"
    )
    assert found["503"] >= 1, found
    assert found["200 v1"] >= 1, found
