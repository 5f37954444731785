from __future__ import annotations

from tests.e2e.samples.conftest import answers
from tests.support.mesh import MeshHandle, eventually

SAMPLE = "mirror"


def test_sample(mesh: MeshHandle) -> None:
    assert set(answers(mesh, "/", 20)) == {"200 v1"}

    def copies() -> bool:
        asked = mesh.run("client", "curl", "-s", "http://echo-v2/count", namespace="mirror")
        return '"asked": 20' in asked.stdout

    eventually(copies, "version 2 got every copy")
