from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from deploy.standalone.control.ads import order, server
from deploy.standalone.control.translate.resources import AUTHORIZATION_TYPE
from tests.deploy.standalone.control.conftest import DAEMON, WAYPOINT, Control
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    deployment,
    documents,
    policy,
    route,
    service,
)
from ztunnel_compat.decode import decode_address
from ztunnel_compat.drivers.ads_stream import NodeInfo
from ztunnel_compat.drivers.login import Login
from ztunnel_compat.drivers.mesh_client import MeshClient
from ztunnel_compat.model import Workload
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.state import Changes, WorkloadState
from ztunnel_compat.xds import MEMBERS_TYPE

WEB = "shop/web.shop.svc.cluster.local"
BEHIND = "shop/behind.shop.svc.cluster.local"
PLAIN = "plain/plain.plain.svc.cluster.local"
MESH = (AMBIENT, GATEWAY, service("web"), deployment("web"))
RULE = "- backendRefs: [{name: web, port: 80}]"


async def ready_mesh(control: Control, *parts: str) -> None:
    control.write(documents(*parts))
    await control.until(lambda view: len(view.pods) == 2)
    await control.report()
    control.gate.open()


async def test_a_mesh_reaches_a_client_and_then_what_changes(control: Control) -> None:
    await ready_mesh(control, *MESH)
    stream = control.stream()
    await stream.send()
    names, removed = await stream.names()
    assert WEB in names
    assert len(names) == 4
    assert removed == []
    control.write(documents(*MESH, service("later", "plain")))
    assert await stream.names() == (["plain/later.plain.svc.cluster.local"], [])
    control.write(documents(*MESH[:2], deployment("web")))
    _, removed = await stream.names()
    assert WEB in removed


async def test_a_route_edit_reaches_waypoints_only(control: Control) -> None:
    await ready_mesh(control, *MESH)
    daemon, waypoint = control.stream(), control.waypoint()
    for stream in (daemon, waypoint):
        await stream.send()
        await stream.receive()
    control.write(documents(*MESH, route(RULE)))
    assert await waypoint.names() == ([WEB], [])
    control.write(documents(*MESH, route(RULE), service("later")))
    assert await waypoint.names() == (["shop/later.shop.svc.cluster.local"], [])
    assert await daemon.names() == (["shop/later.shop.svc.cluster.local"], [])


async def test_a_waypoint_hears_of_what_it_serves_before_nodes_do(control: Control) -> None:
    await ready_mesh(control, *MESH)
    daemon, waypoint = control.stream(), control.waypoint()
    for stream in (daemon, waypoint):
        await stream.send()
        await stream.receive()
    both = service("behind"), service("plain", "plain")
    control.write(documents(*MESH, *both))
    pushed = await waypoint.receive(ack=False)
    assert {r.name for r in pushed.resources} == {BEHIND, PLAIN}
    assert await daemon.names() == ([PLAIN], [])
    await waypoint.send(pushed.type_url, response_nonce=pushed.nonce)
    assert await daemon.names() == ([BEHIND], [])


async def test_after_a_restart_too(control: Control) -> None:
    control.write(documents(*MESH))
    await control.until(lambda view: len(view.pods) == 2)
    await control.report()
    control.ads.open()
    fresh, known, outdated, waypoint = [
        *(control.stream() for _ in range(3)),
        control.waypoint(),
    ]
    versions = {n: r.version for n, r in control.engine.view.contents.ztunnel.items()}
    await fresh.send()
    await known.send(initial_resource_versions=versions)
    await outdated.send(initial_resource_versions=versions | {WEB: "older"})
    assert await known.names() == ([], []), "to whom nothing is new"
    assert await outdated.names() == ([], []), "and who goes on with what it has"
    waiting = asyncio.ensure_future(fresh.names())
    await waypoint.send()
    pushed = await waypoint.receive(ack=False)
    assert not waiting.done(), "what it isn't told of would be gone for it"
    await waypoint.send(pushed.type_url, response_nonce=pushed.nonce)
    assert await outdated.names() == ([WEB], [])
    assert len((await waiting)[0]) == 4


async def test_a_waypoint_that_stays_away_does_not_keep_nodes_waiting(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "PATIENCE", 0.2)
    monkeypatch.setattr(server, "LOOK_AGAIN", 0.1)
    control.write(documents(*MESH))
    await control.until(lambda view: len(view.pods) == 2)
    await control.report()
    control.ads.open()
    stream = control.stream()
    await stream.send()
    names, _ = await stream.names()
    assert WEB in names


async def test_answers_wait_for_the_gate(control: Control) -> None:
    control.write(documents(*MESH))
    stream = control.stream()
    await stream.send()
    reading = asyncio.ensure_future(stream.receive())
    await control.until(lambda view: len(view.pods) == 2)
    await control.report()
    assert not reading.done()
    control.gate.open()
    assert len((await reading).resources) == 4, "the statuses are in the first answer"


async def test_authorization_is_answered_empty(control: Control) -> None:
    control.gate.open()
    stream = control.stream()
    await stream.send(AUTHORIZATION_TYPE)
    response = await stream.receive()
    assert response.type_url == AUTHORIZATION_TYPE
    assert not response.resources


async def test_a_policy_reaches_daemons_and_waypoints_without_a_version(
    control: Control,
) -> None:
    await ready_mesh(control, *MESH, policy("{}"))
    for node in (DAEMON, WAYPOINT):
        stream = control.stream(node)
        await stream.send(AUTHORIZATION_TYPE)
        response = await stream.receive()
        assert [(r.name, r.version) for r in response.resources] == [("shop/rules", "")]
        control.write(documents(*MESH, policy("action: DENY")))
        assert await stream.names() == (["shop/rules"], [])
        control.write(documents(*MESH))
        assert await stream.names() == ([], ["shop/rules"])
        again = control.stream(node)
        await again.send(AUTHORIZATION_TYPE, initial_resource_versions={"shop/rules": ""})
        assert await again.names() == ([], ["shop/rules"])
        control.write(documents(*MESH, policy("{}")))
        assert await again.names() == (["shop/rules"], [])
        again.call.cancel()
        stream.call.cancel()


async def test_a_policy_reaches_the_engine_beside_the_workload_that_names_it(
    control: Control,
) -> None:
    chosen = policy("selector: {matchLabels: {app: web}}")
    await ready_mesh(control, *MESH, chosen)
    stream = control.stream()
    await stream.send()
    response = await stream.receive()
    found = [decode_address(r.name, r.resource.value) for r in response.resources]
    named = {
        w.workload_name: w.authorization_policies for w in found if isinstance(w, Workload)
    }
    assert named == {"web": ("shop/rules",), "waypoint": ()}


async def test_an_unknown_node_is_refused(control: Control) -> None:
    stream = control.stream("sidecar~10.0.0.1~a.b~b.svc.cluster.local")
    await stream.send()
    with pytest.raises(grpc.aio.AioRpcError, match="unknown role 'sidecar'") as caught:
        await asyncio.wait_for(stream.call.read(), 10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_clients_come_and_go(control: Control) -> None:
    control.gate.open()
    for _ in range(3):
        stream = control.stream()
        await stream.send()
        await stream.receive()
        assert len(control.ads.clients) == 1
        stream.call.cancel()
        async with asyncio.timeout(10):
            while control.ads.clients:
                await asyncio.sleep(0.01)
    assert control.tasks.failure is None


async def test_the_engines_own_client_follows(control: Control, tmp_path: Path) -> None:
    (tmp_path / "roots.pem").write_bytes(control.authority.roots)
    (tmp_path / "token").write_text(control.token())
    await ready_mesh(control, *MESH)
    state = WorkloadState()
    arrived = asyncio.Event()

    def note(_changes: Changes) -> None:
        arrived.set()

    client = MeshClient(
        server=Login(control.target, tmp_path / "roots.pem", tmp_path / "token"),
        node=NodeInfo(
            "ztunnel", "10.244.255.1", "node1", "tandem-system", "node1", "Kubernetes"
        ),
        state=state,
        on_change=note,
    )
    async with Tasks() as tasks:
        tasks.spawn(client.run(), "client")
        await asyncio.wait_for(client.synced.wait(), 10)
        found = state.service(WEB)
        assert found is not None
        assert found.waypoint is not None
        assert len(state.endpoints(WEB)) == 1
        arrived.clear()
        await control.report(ready=False)
        await asyncio.wait_for(arrived.wait(), 10)


async def test_a_nodes_agent_says_what_it_serves_and_a_waypoint_nothing(
    control: Control,
) -> None:
    await ready_mesh(control, *MESH)
    stream = control.stream()
    await stream.send()
    await stream.receive()
    await stream.send(MEMBERS_TYPE, resource_names_subscribe=["a", "b"])
    await control.until(lambda view: view.carried.members == {"node1": frozenset("ab")})
    stream.call.cancel()
    waypoint = control.stream(WAYPOINT)
    await waypoint.send(MEMBERS_TYPE, resource_names_subscribe=["c"])
    await waypoint.send()
    await waypoint.receive()
    assert control.engine.members == {"node1": frozenset("ab")}
    again = control.stream()
    await again.send(MEMBERS_TYPE)  # it serves nobody any more
    await control.until(lambda view: view.carried.members == {"node1": frozenset()})
