"""Lock and state directory of a mesh, as if it ran; a test fills its control API."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.lock import MeshLock
from tests.support.control_api import ControlApi, control_api


@dataclass(frozen=True)
class FakeMesh:
    name: str
    state: Path
    api: ControlApi

    def pod(self, namespace: str, name: str, **content: object) -> Path:
        """Add a pod's record; returns its folder."""
        folder = self.state / "pods" / namespace / name
        folder.mkdir(parents=True)
        record = {"namespace": namespace, "name": name, "node": "node1"}
        record["netns"] = f"/run/netns/{self.name}-node1-x"
        (folder / "pod.json").write_text(json.dumps(record | content))
        return folder


@contextmanager
def fake_mesh() -> Iterator[FakeMesh]:
    name = f"t{uuid.uuid4().hex[:8]}"
    config = MeshConfig(name=name)
    config.state_dir.mkdir(parents=True)
    lock = MeshLock.take(config)
    try:
        with control_api(config.control_socket) as api:
            yield FakeMesh(name, config.state_dir, api)
    finally:
        lock.release()
        shutil.rmtree(config.state_dir)
