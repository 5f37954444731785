from __future__ import annotations

from tests.e2e.samples.conftest import answers
from tests.support.mesh import MeshHandle

SAMPLE = "local-rate-limit"


def test_sample(mesh: MeshHandle) -> None:
    for user in ("ann", "bob"):
        found = answers(mesh, "/", 5, "-H", f"x-user: {user}")
        assert found == {"200 v1": 3, "429": 2}
    assert answers(mesh, "/", 12) == {"200 v1": 10, "429": 2}
    ask = ("curl", "-sSi", "http://echo/")
    said = [mesh.run("batch", *ask, namespace=SAMPLE).stdout.lower() for _ in range(3)]
    assert [text.split()[1] for text in said] == ["200", "200", "429"]
    assert "x-ratelimit-limit: 2" in said[0]
    assert "x-ratelimit-remaining: 1" in said[0]
    assert "x-local-rate-limit" not in said[0]
    assert "x-local-rate-limit: true" in said[2]
    assert "retry-after: " in said[2]
    assert said[2].endswith("local_rate_limited")
