"""Following snapshots over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from deploy.standalone.runner.controlapi import ControlApi, Watch
from deploy.standalone.runner.errors import ControlError
from deploy.standalone.runner.spec import Snapshot
from deploy.standalone.runner.status import PodStatus
from deploy.standalone.runner.tokens import Token
from tests.deploy.standalone.runner.worlds import eventually

STATUS = PodStatus("default", "web", "u", "node1")


class Server:
    def __init__(self, epoch: str, version: str = "1") -> None:
        self.answer: Any = {"version": version, "epoch": epoch, "pods": [], "services": []}
        self.token: Any = {"token": "t", "expires": 7}
        self.healthy = True
        self.asked: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path_qs}")
        if request.path == "/v1/healthz":
            return web.Response(status=200 if self.healthy else 503)
        if request.path == "/v1/snapshot":
            if request.query.get("version") == self.answer.get("version"):
                await asyncio.sleep(0.02)
            return web.json_response(self.answer)
        if request.path == "/v1/tokens":
            return web.json_response(self.token)
        if request.path == "/v1/synced":
            return web.Response(status=500, text="out of order")
        return web.Response(status=404)


@asynccontextmanager
async def serving(server: Server, path: Path) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def next_of(watch: Watch) -> Snapshot:
    async with asyncio.timeout(10):
        return await watch.next()


async def test_versions_are_followed(tmp_path: Path) -> None:
    path, epochs = tmp_path / "sock", list[str]()
    server = Server("e1")
    async with serving(server, path), ControlApi(path) as api:
        watch = Watch(api, lambda: epochs.append("new"))
        assert (await next_of(watch)).version == "1"
        following = asyncio.ensure_future(next_of(watch))
        await asyncio.sleep(0.05)
        assert not following.done()
        server.answer["version"] = "2"
        assert (await following).version == "2"
    assert epochs == ["new"]
    assert "GET /v1/snapshot?version=1&wait=30" in server.asked


async def test_a_new_process_counts_once_it_is_healthy(tmp_path: Path) -> None:
    path, epochs = tmp_path / "sock", list[str]()
    async with ControlApi(path) as api:
        watch = Watch(api, lambda: epochs.append(watch.epoch or ""))
        async with serving(Server("e1"), path):
            await next_of(watch)
        following = asyncio.ensure_future(next_of(watch))
        second = Server("e2", version="1")
        second.healthy = False
        async with serving(second, path):
            await eventually(lambda: "GET /v1/healthz" in second.asked, "it is asked")
            assert not following.done()
            second.healthy = True
            assert (await following).epoch == "e2"
    assert epochs == ["e1", "e2"]


async def test_nonsense_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    server = Server("e1")
    server.answer = {"version": "1"}
    async with serving(server, path), ControlApi(path) as api:
        with pytest.raises(ControlError, match="can't be read"):
            await api.snapshot("")
        following = asyncio.ensure_future(next_of(Watch(api, lambda: None)))
        await eventually(lambda: len(server.asked) >= 3, "it is asked again")
        server.answer = {"version": "1", "epoch": "e1", "pods": [], "services": []}
        assert (await following).version == "1"


async def test_answers_and_errors(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    async with ControlApi(path) as api:
        assert not await api.healthy()
        with pytest.raises(ControlError, match=str(path)):
            await api.put_status(STATUS)
        server = Server("e")
        async with serving(server, path):
            assert await api.token({"node": "node1"}) == Token("t", 7.0)
            server.token = {"token": "t"}
            with pytest.raises(ControlError, match="a token that can't be read"):
                await api.token({"node": "node1"})
            assert await api.healthy()
            assert not await api.put_status(STATUS)
            with pytest.raises(ControlError, match="500 out of order"):
                await api.synced("node1")
