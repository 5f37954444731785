"""The samples of one feature each: their manifests make a mesh without a problem."""

from __future__ import annotations

from pathlib import Path

import pytest

import deploy
from tests.deploy.standalone.control.helpers import Mesh

SAMPLES = Path(deploy.__file__).parent / "samples"
NAMES = (
    "gray-release", "canary-by-header", "retry", "timeout", "circuit-breaker",
    "outlier-ejection", "mirror", "grpc", "websocket", "tcp",
    "fault-injection", "local-rate-limit", "cors",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_attached_and_has_no_problem(name: str) -> None:
    text = (SAMPLES / name / "mesh.yaml").read_text().replace("../programs", str(SAMPLES))
    mesh = Mesh(text)
    mesh.report()
    assert mesh.messages() == []
    assert all(mesh.view.attachments.accepted.values())
    assert mesh.service("echo", name).extensions
    assert (SAMPLES / name / "README.md").is_file()
