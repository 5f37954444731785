from __future__ import annotations

import pytest

from tests.waypoint.mesh import running, service
from tests.waypoint.transcript import join_server
from waypoint.pool import Endpoint


def test_labels() -> None:
    assert Endpoint("10.0.0.1", 80).label == "10.0.0.1:80"
    assert Endpoint("fd00::1", 80).label == "[fd00::1]:80"


async def test_an_endpoint_in_no_cluster_keeps_nothing() -> None:
    async with running() as mesh:
        mesh.push(service("web"))
        mesh.pod("web-1", "web", 9)
        up, tape = join_server(mesh)
        endpoint = up.endpoint
        mesh.push(removed=("Kubernetes//Pod/apps/web-1",))
        assert tape.take() == ["close"]
        assert not endpoint.give(up)
        assert endpoint.idle == []


async def test_idle_connections_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypoint.pool.IDLE_MOST", 2)
    async with running() as mesh:
        mesh.push(service("web"))
        mesh.pod("web-1", "web", 9)
        (first, _), (second, _) = join_server(mesh), join_server(mesh)
        assert not first.endpoint.give(first)
        assert first.endpoint.take() is second
        second.endpoint.forget(second)
        first.endpoint.forget(first)
        assert first.endpoint.take() is None
