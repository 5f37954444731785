"""What is told to the control plane, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from deploy.standalone.runner.errors import ControlError
from deploy.standalone.runner.status import (
    ContainerState,
    PodStatus,
    StatusReporter,
    pod_phase,
)
from tests.deploy.standalone.runner.worlds import eventually
from ztunnel_compat.runtime.tasks import Tasks

STATUS = PodStatus("default", "web", "u", "node1", ("10.244.1.2",), "Running", True)


class Sink:
    def __init__(self) -> None:
        self.told: list[PodStatus | str] = []
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def put_status(self, status: PodStatus) -> bool:
        await self.gate.wait()
        if self.away:
            raise ControlError("away")
        self.told.append(status)
        return True

    async def synced(self, node: str) -> None:
        if self.away:
            raise ControlError("away")
        self.told.append(node)


@asynccontextmanager
async def reporting(sink: Sink) -> AsyncIterator[StatusReporter]:
    reporter = StatusReporter(sink, ["node1", "node2"])
    async with Tasks() as tasks:
        tasks.spawn(reporter.run(), "statuses")
        yield reporter


async def test_the_same_status_is_told_once() -> None:
    sink = Sink()
    async with reporting(sink) as reporter:
        reporter.report(STATUS)
        await reporter.idle.wait()
        reporter.report(replace(STATUS))
        reporter.report(replace(STATUS, ready=False))
        await reporter.idle.wait()
    assert sink.told == [STATUS, replace(STATUS, ready=False)]


async def test_only_the_newest_is_told() -> None:
    sink = Sink()
    sink.gate.clear()
    async with reporting(sink) as reporter:
        for restarts in range(100):
            reporter.report(replace(STATUS, restarts=restarts))
            await asyncio.sleep(0)
        sink.gate.set()
        await reporter.idle.wait()
    assert len(sink.told) <= 2
    assert sink.told[-1] == replace(STATUS, restarts=99)


async def test_it_is_told_when_the_control_plane_is_back() -> None:
    sink = Sink()
    sink.away = True
    async with reporting(sink) as reporter:
        reporter.report(STATUS)
        await eventually(lambda: reporter.backoff.ceiling > 0.1, "two attempts")
        assert sink.told == []
        sink.away = False
        await reporter.idle.wait()
    assert sink.told == [STATUS]


async def test_a_new_control_process_is_told_all_and_then_that_it_is_all() -> None:
    sink = Sink()
    other = replace(STATUS, name="other")
    async with reporting(sink) as reporter:
        reporter.report(STATUS)
        reporter.report(other)
        await reporter.idle.wait()
        sink.told.clear()
        reporter.send_all()
        await reporter.idle.wait()
    assert sink.told == [STATUS, other, "node1", "node2"]


async def test_nothing_is_told_of_a_pod_that_is_gone() -> None:
    sink = Sink()
    sink.away = True
    async with reporting(sink) as reporter:
        reporter.report(STATUS)
        reporter.forget(STATUS.key)
        sink.away = False
        reporter.send_all()
        await reporter.idle.wait()
    assert sink.told == ["node1", "node2"]


def test_the_body_is_the_apis() -> None:
    assert STATUS.body() == {
        "uid": "u",
        "node": "node1",
        "ips": ("10.244.1.2",),
        "phase": "Running",
        "ready": True,
        "restarts": 0,
        "message": "",
    }


STARTED = ContainerState(started=True)
DONE = ContainerState(started=True, finished=True)


@pytest.mark.parametrize(
    ("containers", "phase"),
    [
        ([], "Pending"),
        ([ContainerState()], "Pending"),
        ([ContainerState(), STARTED], "Running"),
        ([STARTED, DONE], "Running"),
        ([DONE, DONE], "Succeeded"),
        ([DONE, replace(DONE, exit_status=1)], "Failed"),
    ],
)
def test_phases(containers: list[ContainerState], phase: str) -> None:
    assert pod_phase(containers) == phase
