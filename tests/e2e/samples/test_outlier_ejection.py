from __future__ import annotations

from tests.e2e.samples.conftest import answers
from tests.support.mesh import MeshHandle, eventually

SAMPLE = "outlier-ejection"


def test_sample(mesh: MeshHandle) -> None:
    answers(mesh, "/", 40)
    eventually(
        lambda: set(answers(mesh, "/", 20)) == {"200 v1"}, "the bad endpoint is left out"
    )
