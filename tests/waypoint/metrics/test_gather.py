from __future__ import annotations

import pytest

from tests.waypoint.mesh import TCP_PORT, running, service
from tests.waypoint.test_exchange import serve
from tests.waypoint.test_tcp import echo
from tests.waypoint.wire import client, upstream
from waypoint.metrics import gather as module
from waypoint.metrics.gather import gather
from waypoint.metrics.recorder import STREAM_RECEIVED, STREAM_SENT
from waypoint.resilience.breakers import BreakerSettings, Resource, Thresholds

WEB = "outbound|80||web.apps.svc.cluster.local"


async def test_this_process_as_it_is() -> None:
    async with running() as mesh, upstream() as server:
        serve(mesh, server.port)
        mesh.worker.stats.refuse("limit")
        mesh.worker.stats.answer("route_not_found")
        async with client(mesh) as peer:
            await peer.get()
            found = gather(mesh.worker, 3, 4)
            assert found.gauges["active_connections", "http"] == 1
        assert found.life == 3
        assert found.counts["replay_bodies_dropped", "request"] == 0
        assert found.counts["log_dropped",] == 4
        assert found.counts["requests",] == 1
        assert found.counts["connections_refused", "limit"] == 1
        assert found.counts["local_replies", "route_not_found"] == 1
        assert found.gauges["label_sets", "requests"] == 1
        assert found.gauges["cluster_endpoints", WEB, "healthy"] == 1
        assert found.gauges["cluster_requests", WEB] == 0
        (row,) = found.requests.values()
        assert row is not next(iter(mesh.worker.recorder.requests.rows.values()))


async def test_bytes_of_what_is_open() -> None:
    async with running() as mesh, upstream(echo) as server:
        serve(mesh, server.port)
        mesh.ask("web", TCP_PORT)
        async with client(mesh) as peer:
            await peer.send(b"hello")
            await peer.exactly(5)
            (row,) = gather(mesh.worker, 0, 0).streams.values()
            assert (row[STREAM_RECEIVED], row[STREAM_SENT]) == (5, 5)


async def test_breakers_and_who_is_left_out() -> None:
    async with running() as mesh:
        serve(mesh, 9, 10)
        cluster = mesh.worker.targets.clusters.clusters["apps", WEB]
        assert "cluster_requests" not in {key[0] for key in gather(mesh.worker, 0, 0).gauges}
        cluster.traffic = True
        cluster.breakers.adjust(BreakerSettings(Thresholds(requests=1)))
        assert cluster.breakers.default.take(Resource.REQUESTS)
        assert not cluster.breakers.default.take(Resource.REQUESTS)
        first, _ = cluster.members.values()
        first.monitor.ejected_at = 1.0
        found = gather(mesh.worker, 0, 0)
        assert found.gauges["cluster_endpoints", WEB, "ejected"] == 1
        assert found.gauges["cluster_endpoints", WEB, "healthy"] == 1
        assert found.gauges["cluster_breaker_open", WEB, "requests"] == 1
        assert found.counts["cluster_overflows", WEB, "requests"] == 1
        first.monitor.ejected_at = None
        cluster.breakers.default.free(Resource.REQUESTS)


async def test_many_words_and_clusters_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WORDS", 2)
    monkeypatch.setattr(module, "MOST_CLUSTERS", 1)
    async with running() as mesh:
        mesh.push(service("web"), service("other"))
        for number, word in enumerate("abcd"):
            mesh.worker.stats.local[word] = number + 1
        for cluster in mesh.worker.targets.clusters.clusters.values():
            cluster.traffic = True
        found = gather(mesh.worker, 0, 0)
        told = {key: n for key, n in found.counts.items() if key[0] == "local_replies"}
        assert told == {
            ("local_replies", "a"): 1,
            ("local_replies", "b"): 2,
            ("local_replies", "other"): 7,
        }
        assert len([key for key in found.gauges if key[0] == "cluster_requests"]) == 1
        assert found.gauges["clusters_left_out",] == 3
