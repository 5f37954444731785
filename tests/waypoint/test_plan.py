from __future__ import annotations

from tests.waypoint.mesh import host, routes, running, service, to
from tests.waypoint.wire import request
from waypoint.layers.request import parse_request
from waypoint.plan import Plan, plan_request
from waypoint.routing import Forward


async def plan(raw: bytes) -> Plan:
    async with running() as mesh:
        weights = [{"name": to(n)["cluster"], "weight": 1} for n in ("v1", "v2", "v1")]
        action = {"weightedClusters": {"clusters": weights}}
        path = {"pathSeparatedPrefix": "/a"}
        mesh.push(service("web", routes("web", host({"match": path, "route": action}))))
        (target,) = (t for t in mesh.worker.targets.by_hash.values() if t.port == 80)
        made = plan_request(parse_request(raw), target)
        assert made.target is target
        return made


async def test_clusters_are_in_the_order_of_the_route() -> None:
    made = await plan(request("/a/b"))
    assert made.route is not None
    assert isinstance(made.route.action, Forward)
    assert [w.cluster.name for w in made.ways] == [c.name for c in made.route.action.clusters]


async def test_no_route_no_clusters() -> None:
    made = await plan(request("/b"))
    assert (made.route, made.ways) == (None, ())


async def test_what_goes_out() -> None:
    raw = request("/a", "X-Request-Id: 7")
    made = await plan(raw)
    assert (made.ways[0].http1(), made.needs_id, made.request_id) == (raw, False, "7")
    made = await plan(request("/a"))
    assert (made.ways[0].http1() + b"\r\n", made.needs_id) == (request("/a"), True)


async def test_what_may_be_sent_twice() -> None:
    for method, twice in (("GET", True), ("DELETE", True), ("POST", False), ("X", False)):
        assert (await plan(request("/a", method=method))).replayable is twice
    with_body = request("/a", "Content-Length: 1", method="PUT")
    assert not (await plan(with_body)).replayable
