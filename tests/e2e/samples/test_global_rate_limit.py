from __future__ import annotations

from tests.e2e.samples.conftest import answers
from tests.support.mesh import MeshHandle

SAMPLE = "global-rate-limit"


def test_sample(mesh: MeshHandle) -> None:
    # A minute may end between two requests: then five more are let on.
    for user in ("ann", "bob"):
        found = answers(mesh, "/", 12, "-H", f"x-user: {user}")
        assert found["200 v1"] in {5, 10}, found
        assert found["200 v1"] + found["429"] == 12
    assert answers(mesh, "/", 8) == {"200 v1": 8}
    asked = mesh.run(
        "client", "curl", "-si", "-H", "x-user: ann", "http://echo/?[1-6]",
        namespace=SAMPLE,
    ).stdout  # fmt: skip
    last = asked.lower().rpartition("http/1.1 ")[2]
    assert last.startswith("429")
    assert "retry-after: " in last
    assert "x-ratelimit-limit: 5, 5;w=60" in last
