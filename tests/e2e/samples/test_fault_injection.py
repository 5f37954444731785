from __future__ import annotations

from tests.e2e.samples.conftest import answers
from tests.support.mesh import MeshHandle

SAMPLE = "fault-injection"


def test_sample(mesh: MeshHandle) -> None:
    assert set(answers(mesh, "/broken", 5)) == {"503"}
    assert set(answers(mesh, "/", 20)) == {"200 v1"}
    assert set(answers(mesh, "/flaky", 40)) == {"200 v1", "500"}
    took = mesh.run(
        "client",
        *("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{time_total}"),
        *("-H", "end-user: tester", "http://echo/"),
        namespace=SAMPLE,
    ).stdout
    status, seconds = took.split()
    assert status == "200"
    assert float(seconds) > 0.49
