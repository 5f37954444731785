from __future__ import annotations

import json

from tests.waypoint.mesh import HTTP_PORT, running, service
from waypoint.dumps import dump_targets


async def test_targets_can_be_read() -> None:
    async with running() as mesh:
        mesh.push(service("web"))
        mesh.push(service("web", mine=False))
        dump = dump_targets(mesh.worker.targets)
        assert json.dumps(dump)
        entry = dump[f"{service('web').key}:{HTTP_PORT}"]
        assert entry["protocol"] == "HTTP11"
        assert entry["leaving"]
        assert entry["error"] == ""
