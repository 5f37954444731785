from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deploy.standalone.control.engine import Engine
from deploy.standalone.control.errors import UnknownError
from deploy.standalone.control.pods import PodStatus
from deploy.standalone.control.state import StateStore
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    FILE,
    GATEWAY,
    SETTINGS,
    deployment,
    documents,
    read,
    service,
)
from ztunnel_compat.runtime.tasks import Tasks

TEXT = documents(AMBIENT, service("web"), deployment("web", replicas=20))


async def loaded(folder: Path) -> Engine:
    engine = Engine(SETTINGS, StateStore(folder))
    engine.set_catalog(engine.catalog.loaded(FILE, read(TEXT)))
    await engine.step()
    return engine


async def test_what_comes_together_makes_one_view(tmp_path: Path) -> None:
    engine = await loaded(tmp_path / "state")
    views = []
    engine.listeners.append(lambda _before, after: views.append(after))
    async with Tasks() as tasks:
        tasks.spawn(engine.run(), "views")
        for name, each in engine.view.pods.items():
            engine.set_status(name, PodStatus(each.pod.uid, ready=True))
        await asyncio.wait_for(engine.settled(), 10)
        assert len(engine.view.statuses) == 20
        assert len(views) == 1
        name = next(iter(engine.view.pods))
        engine.set_status(name, engine.view.statuses[name])
        await asyncio.wait_for(engine.settled(), 10)
    assert len(views) == 1, "the same again changes nothing"


async def test_pods_that_are_gone_leave_no_status(tmp_path: Path) -> None:
    engine = await loaded(tmp_path / "state")
    for name, each in engine.view.pods.items():
        engine.set_status(name, PodStatus(each.pod.uid))
    engine.set_catalog(engine.catalog.without(FILE))
    await engine.step()
    assert engine.statuses == {}
    with pytest.raises(UnknownError, match="there is no pod"):
        engine.set_status(name, PodStatus("x"))


async def test_what_a_node_serves_outlasts_the_process(tmp_path: Path) -> None:
    engine = await loaded(tmp_path / "state")
    reached = engine.wanted
    engine.set_members("node1", frozenset("ab"))
    engine.set_members("node1", frozenset("ab"))
    assert engine.wanted == reached + 1
    await engine.step()
    later = await loaded(tmp_path / "state")
    assert later.view.carried.members == {"node1": frozenset("ab")}
    later.set_members("node1", frozenset())
    await later.step()
    assert later.view.carried.members == {"node1": frozenset()}


async def test_addresses_and_waypoints_in_use_outlast_the_process(tmp_path: Path) -> None:
    engine = await loaded(tmp_path)
    engine.set_catalog(engine.catalog.loaded(FILE, read(documents(TEXT, GATEWAY))))
    await engine.step()
    for name, each in engine.view.pods.items():
        engine.set_status(name, PodStatus(each.pod.uid, ready=True))
    await engine.step()
    again = Engine(SETTINGS, StateStore(tmp_path))
    assert again.carried.addresses == engine.view.allocations.addresses
    assert again.carried.waypoints == {("shop", "waypoint")}


async def test_a_full_disk_is_said_and_the_mesh_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    engine = await loaded(tmp_path / "file" / "state")
    assert len(engine.view.pods) == 20
    assert "a restart of this process will not know of it" in caplog.text


async def test_problems_are_logged_once_and_when_they_are_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    engine = await loaded(tmp_path / "state")
    await engine.step()
    assert caplog.text.count("there is no waypoint shop/waypoint") == 1
    fixed = TEXT.replace(", istio.io/use-waypoint: waypoint", "")
    engine.set_catalog(engine.catalog.loaded(FILE, read(fixed)))
    await engine.step()
    assert "1 earlier problems are gone, 0 are left" in caplog.text
