from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.deploy.standalone.control.conftest import Control
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    deployment,
    documents,
    entry,
    route,
    service,
)

RULE = "- backendRefs: [{name: web, port: 80}]"


async def running(control: Control, *parts: str) -> dict[str, Any]:
    control.gate.open()
    control.write(documents(*parts))
    await control.until(lambda view: view.pods)
    await control.report()
    control.gate.open()
    _, snapshot = await control.ask("GET", "/v1/snapshot")
    return snapshot  # type: ignore[no-any-return]


async def test_snapshot(control: Control) -> None:
    snapshot = await running(control, AMBIENT, service("web"), deployment("web"))
    (pod,), (view,) = snapshot["pods"], snapshot["services"]
    assert snapshot["version"].startswith(snapshot["epoch"])
    assert pod["enrolled"] is True
    assert pod["containers"][0]["command"] == ["serve"]
    assert view["hostname"] == "web.shop.svc.cluster.local"
    assert view["ports"] == [{"name": "http", "port": 80, "protocol": "TCP"}]
    assert view["endpoints"] == [
        {"pod": pod["name"], "ips": ["10.244.1.10"], "ready": True, "ports": {"80": 8080}}
    ]


async def test_snapshot_has_hosts_that_stand_for_a_name_in_the_whole_mesh(
    control: Control,
) -> None:
    spec = (
        "hosts: [a.example]\nports: [{number: 80, name: http, targetPort: 8080}]\n"
        "resolution: STATIC\nendpoints: [{address: 10.9.0.1}]\n"
    )
    own = entry(spec + "addresses: [10.7.0.1, 10.8.0.0/16]", "own", "z")
    private = entry(spec.replace("a.example", "b.example") + "exportTo: [.]", "private")
    snapshot = await running(
        control, AMBIENT, deployment("web"), entry(spec), own, private,
    )  # fmt: skip
    (view,) = snapshot["services"]
    assert (view["hostname"], view["entry"], view["headless"]) == ("a.example", True, False)
    assert [vip.partition(":")[0].partition(".")[0] for vip in view["vips"]] == ["240", "2001"]
    assert view["endpoints"] == [
        {"pod": "out", "ips": ["10.9.0.1"], "ready": True, "ports": {"80": 8080}}
    ]


async def test_snapshot_waits_for_a_change(control: Control) -> None:
    snapshot = await running(control, AMBIENT, service("web"), deployment("web"))
    path = f"/v1/snapshot?version={snapshot['version']}&wait="
    _, same = await control.ask("GET", path + "0.05")
    assert same["version"] == snapshot["version"]
    waiting = asyncio.ensure_future(control.ask("GET", path + "30"))
    await control.report(ready=False)
    _, after = await asyncio.wait_for(waiting, 10)
    assert after["services"][0]["endpoints"][0]["ready"] is False
    _, other_life = await control.ask("GET", "/v1/snapshot?version=0.0&wait=30")
    assert other_life["version"] == after["version"]


async def test_a_snapshot_is_unsettled_until_the_nodes_have_reported(control: Control) -> None:
    control.write(documents(AMBIENT, service("web"), deployment("web")))
    await control.until(lambda view: view.pods)
    _, early = await control.ask("GET", "/v1/snapshot")
    assert (early["settled"], len(early["pods"])) == (False, 1)
    path = f"/v1/snapshot?version={early['version']}&wait=30"
    waiting = asyncio.ensure_future(control.ask("GET", path))
    await control.report()
    control.gate.open()
    _, after = await asyncio.wait_for(waiting, 10)
    assert after["settled"] is True
    assert after["services"][0]["endpoints"][0]["ready"] is True


async def test_snapshot_tells_when_endpoints_count(control: Control) -> None:
    _, before = await control.ask("GET", "/v1/snapshot")
    assert before["settled"] is False
    path = f"/v1/snapshot?version={before['version']}&wait=30"
    waiting = asyncio.ensure_future(control.ask("GET", path))
    control.gate.open()
    _, after = await asyncio.wait_for(waiting, 10)
    assert after["settled"] is True
    assert after["version"] != before["version"]
    assert after["epoch"] == before["epoch"]


async def test_unlabelling_takes_a_pod_out_without_a_restart(control: Control) -> None:
    before = await running(control, AMBIENT, deployment("web"))
    control.write(documents(AMBIENT.replace("ambient", "none"), deployment("web")))
    await control.until(lambda view: not any(p.enrolled for p in view.pods.values()))
    _, after = await control.ask("GET", "/v1/snapshot")
    assert after["pods"][0]["uid"] == before["pods"][0]["uid"]
    assert after["pods"][0]["enrolled"] is False


@pytest.mark.parametrize(
    ("path", "change", "status", "message"),
    [
        ("shop/none", {}, 404, "there is no pod shop/none"),
        ("{pod}", {"uid": "other"}, 404, "not other"),
        ("{pod}", {"phase": "Fine"}, 400, "phase: 'Fine' is none of Pending"),
        ("{pod}", {"ips": ["1.2.3"]}, 400, "ips: '1.2.3'"),
        ("{pod}", {"ready": "yes"}, 400, "ready: expected bool, not 'yes'"),
    ],
)
async def test_statuses_that_are_refused(
    control: Control, path: str, change: dict[str, Any], status: int, message: str
) -> None:
    snapshot = await running(control, AMBIENT, deployment("web"))
    pod = snapshot["pods"][0]
    body = {"uid": pod["uid"], "ips": [], "phase": "Running", "ready": True, "restarts": 0}
    full = f"/v1/pods/{path.replace('{pod}', 'shop/' + pod['name'])}/status"
    found, answer = await control.ask("PUT", full, json=body | change)
    assert found == status
    assert message in answer["error"]


async def test_apply_change_delete(control: Control) -> None:
    for text, word in (
        (service("web"), "created"),
        (service("web"), "unchanged"),
        (service("web").replace("8080", "1"), "configured"),
    ):
        status, answer = await control.ask("POST", "/v1/apply", data=text)
        assert (status, answer["results"]) == (
            200,
            [{"object": "service/shop/web", "result": word}],
        )
    assert ("shop", "web") in control.engine.view.world.services, "in force when answered"
    _, answer = await control.ask("POST", "/v1/delete", data=service("web"))
    assert answer["results"] == [{"object": "service/shop/web", "result": "deleted"}]
    assert not control.engine.view.world.services


async def test_apply_refuses_with_line_and_field_and_applies_nothing(control: Control) -> None:
    text = documents(service("web"), service("b").replace("port: 80", "port: x"))
    status, answer = await control.ask("POST", "/v1/apply?file=/home/me/x.yaml", data=text)
    assert status == 400
    assert answer["error"].startswith(
        "/home/me/x.yaml:13: spec.ports[0].port: expected a whole"
    )
    assert not control.engine.view.world.services


async def test_objects_of_files_are_edited_there(control: Control) -> None:
    await running(control, AMBIENT, deployment("web"))
    for act in ("apply", "delete"):
        status, answer = await control.ask("POST", f"/v1/{act}", data=deployment("web"))
        assert status == 409
        assert f"comes from {control.folder / 'mesh.yaml'}: edit it there" in answer["error"]


async def test_tables(control: Control) -> None:
    await running(control, AMBIENT, GATEWAY, service("web"), deployment("web"), route(RULE))
    found = {}
    for kind in ("pods", "services", "routes", "waypoints"):
        status, table = await control.ask("GET", f"/v1/get/{kind}")
        assert status == 200
        found[kind] = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    pod = next(row for row in found["pods"] if row["NAME"].startswith("web-"))
    assert (pod["READY"], pod["STATUS"], pod["MESH"]) == ("1/1", "Running", "ambient")
    web = next(row for row in found["services"] if row["NAME"] == "web")
    assert (web["ENDPOINTS"], web["WAYPOINT"]) == ("1/1", "shop/waypoint")
    assert found["routes"][0]["BACKENDS"] == "web:80=1"
    assert found["routes"][0]["ACCEPTED"] == "True"
    assert (found["waypoints"][0]["READY"], found["waypoints"][0]["PROGRAMMED"]) == (
        "1/1",
        "True",
    )
    status, answer = await control.ask("GET", "/v1/get/secrets")
    assert (status, answer["error"]) == (
        404,
        (
            "there is no table 'secrets': pods, services, routes, waypoints, workloads, "
            "policies, plugins, problems"
        ),
    )


async def test_dump(control: Control) -> None:
    await running(
        control, AMBIENT, GATEWAY, service("web"), deployment("web"),
        route("- backendRefs: [{name: gone, port: 80}]"),
    )  # fmt: skip
    control.gate.open()
    stream = control.stream()
    await stream.send()
    await stream.receive(ack=False)
    await stream.send(response_nonce="1", error_detail={"message": "no"})
    async with asyncio.timeout(10):
        while not control.ads.status()[0]["types"]:
            await asyncio.sleep(0.01)
    _, dump = await control.ask("GET", "/v1/dump")
    web = dump["services"]["shop/web.shop.svc.cluster.local"]
    assert web["extensions"][0]["config"]["virtualHosts"][0]["routes"]
    assert len(dump["workloads"]) == 2
    assert {
        "object": "service/shop/web",
        "file": f"{control.folder}/mesh.yaml",
        "line": 14,
    } in (dump["objects"])
    assert any("there is no Service shop/gone" in e["message"] for e in dump["errors"])
    (client,) = dump["clients"]
    assert client["node"].startswith("ztunnel~")


async def test_bad_requests_get_an_error_and_harm_nothing(control: Control) -> None:
    assert (await control.ask("POST", "/v1/synced", data="{"))[0] == 400
    assert (await control.ask("POST", "/v1/synced", json={"node": "x"}))[0] == 404
    assert (await control.ask("POST", "/v1/synced", json=[]))[0] == 400
    assert (await control.ask("GET", "/v1/snapshot?wait=long&version=x"))[0] == 400
    assert (await control.ask("GET", "/v2"))[0] == 404
    assert (await control.ask("POST", "/v1/apply", data=b"\xff"))[0] == 400
    assert (await control.ask("POST", "/v1/synced", json={"node": "node1"}))[0] == 204
    assert control.gate.complete.is_set()
    assert (await control.ask("GET", "/v1/healthz"))[0] == 200


async def test_tokens_are_for_what_there_is(control: Control) -> None:
    snapshot = await running(control, AMBIENT, deployment("web"))
    (pod,) = snapshot["pods"]
    status, body = await control.ask("POST", "/v1/tokens", json={"node": "node1"})
    assert (status, control.tokens.verify(body["token"]).node) == (200, "node1")
    asked = {"namespace": "shop", "pod": pod["name"], "uid": pod["uid"]}
    status, body = await control.ask("POST", "/v1/tokens", json=asked)
    assert control.tokens.verify(body["token"]).pod == pod["name"]
    assert body["expires"] > time.time()
    for wrong, code, reason in (
        ({"node": "x"}, 404, "there is no node 'x'"),
        (asked | {"uid": "before"}, 404, "of uid before"),
        ({"pod": "x"}, 400, "namespace: expected str"),
        ({}, 400, "node: expected str"),
        ([], 400, "must be a JSON object"),
    ):
        status, body = await control.ask("POST", "/v1/tokens", json=wrong)
        assert status == code
        assert reason in body["error"]


async def test_no_token_makes_a_pod_an_agent(control: Control) -> None:
    trap = deployment("trap", "tandem-system").replace(
        "      containers:", "      serviceAccountName: ztunnel\n      containers:"
    )
    snapshot = await running(control, trap)
    (pod,) = snapshot["pods"]
    asked = {"namespace": "tandem-system", "pod": pod["name"], "uid": pod["uid"]}
    status, body = await control.ask("POST", "/v1/tokens", json=asked)
    assert (status, "is the node agents'" in body["error"]) == (403, True)


async def test_roots_are_told_and_changed(control: Control) -> None:
    _, before = await control.ask("GET", "/v1/roots")
    assert (before["step"], before["next_step_after"]) == ("stable", "")
    (root,) = before["roots"]
    assert root["signing"] is True
    status, after = await control.ask("POST", "/v1/roots/rotate")
    assert (status, after["step"], len(after["roots"])) == (200, "published", 2)
    _, dump = await control.ask("GET", "/v1/dump")
    assert dump["ca"] == after


async def test_a_root_that_cannot_be_kept_is_said(control: Control) -> None:
    control.ca_settings.folder.joinpath("state.new").mkdir()
    status, body = await control.ask("POST", "/v1/roots/rotate")
    assert (status, "state.json can't be written" in body["error"]) == (503, True)
