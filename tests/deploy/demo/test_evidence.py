"""Logs that are kept when the story is not so."""

from __future__ import annotations

import shutil

from deploy.demo.evidence import keep_logs
from deploy.standalone.config import MeshConfig
from tests.support.fake_mesh import FakeMesh, fake_mesh


def test_logs_are_copied_with_their_places() -> None:
    with fake_mesh() as mesh:
        write_logs(mesh)
        kept = keep_logs(MeshConfig(name=mesh.name))
    assert kept is not None
    files = sorted(str(file.relative_to(kept)) for file in kept.rglob("*") if file.is_file())
    assert files == ["logs/control.log", "pods/shop/web/log"]
    assert (kept / "logs" / "control.log").read_text() == "said"
    shutil.rmtree(kept)


def write_logs(mesh: FakeMesh) -> None:
    (mesh.pod("shop", "web") / "log").write_text("web")
    (mesh.state / "logs").mkdir()
    (mesh.state / "logs" / "control.log").write_text("said")


def test_no_logs_no_directory() -> None:
    assert keep_logs(MeshConfig(name="nosuchmesh")) is None
