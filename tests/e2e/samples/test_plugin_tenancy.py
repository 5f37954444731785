from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mesh import CommandError, MeshHandle, eventually

SAMPLE = "plugin-tenancy"


def asked(mesh: MeshHandle, pod: str, *options: str) -> tuple[str, str]:
    """Status and head and body of an answer."""
    done = mesh.run(pod, "curl", "-si", "-m", "10", *options, "http://echo/", namespace=SAMPLE)
    return done.stdout.split()[1], done.stdout.lower()


def test_sample(mesh: MeshHandle) -> None:
    status, text = asked(mesh, "acme")
    assert status == "200", mesh.tandem("logs", "waypoint")
    assert "x-tenant: acme" in text
    assert '"version": "acme"' in text
    # Another tenant's than the caller's own, and one of the two that the agency has.
    assert asked(mesh, "acme", "-H", "x-tenant: globex")[0] == "403"
    assert asked(mesh, "agency")[0] == "400"
    status, text = asked(mesh, "agency", "-H", "x-tenant: globex")
    assert status == "200"
    assert '"version": "other"' in text
    assert asked(mesh, "stranger", "-H", "x-tenant: acme")[0] == "403"
    assert "tenancy" in mesh.tandem("get", "plugins")


MARK = """
apiVersion: tandem.io/v1alpha1
kind: PythonFilter
metadata: {name: mark, namespace: plugin-tenancy}
spec:
  targetRefs: [{group: "", kind: Service, name: echo}]
  class: Mark
  code: |
    from tandem.plugins import Filter
    class Mark(Filter):
        def on_response(self, request, response):
            response.headers["x-mark"] = CODE
"""


def test_a_new_class_takes_over_unless_it_is_broken(mesh: MeshHandle, tmp_path: Path) -> None:
    file = tmp_path / "mark.yaml"
    for value in ("one", "two"):
        file.write_text(MARK.replace("CODE", repr(value)))
        mesh.tandem("apply", "-f", str(file))
        eventually(lambda text=f"x-mark: {value}": text in asked(mesh, "acme")[1], value)
    file.write_text(MARK.replace("CODE", "three three"))
    with pytest.raises(CommandError, match=r"mark.yaml:12: .*line 4 of the code"):
        mesh.tandem("apply", "-f", str(file))
    assert "x-mark: two" in asked(mesh, "acme")[1]
    # What only shows when it is run is told by the waypoint, and changes as little.
    file.write_text(MARK.replace("    class", "    1 / 0\n    class").replace("CODE", "''"))
    mesh.tandem("apply", "-f", str(file))
    eventually(lambda: "ZeroDivisionError" in mesh.tandem("logs", "waypoint"), "the error")
    assert "x-mark: two" in asked(mesh, "acme")[1]
