"""A control plane in this process: real files, a real unix socket, real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from deploy.standalone.control.ads.gate import Gate
from deploy.standalone.control.ads.server import AdsService
from deploy.standalone.control.ads.server import serve as serve_ads
from deploy.standalone.control.api.handlers import Api
from deploy.standalone.control.api.server import serve as serve_api
from deploy.standalone.control.engine import Engine
from deploy.standalone.control.files import ManifestFiles
from deploy.standalone.control.state import StateStore
from deploy.standalone.control.translate.resources import ADDRESS_TYPE
from tests.deploy.standalone.control.helpers import SETTINGS
from ztunnel_compat.runtime.tasks import Tasks

DAEMON = "ztunnel~10.244.255.1~node1.tandem-system~tandem-system.svc.cluster.local"
WAYPOINT = "waypoint~10.244.1.9~waypoint-x-0.shop~shop.svc.cluster.local"
SECONDS = 10


class Stream:
    """A client's delta stream of Addresses."""

    def __init__(self, call: Any, node: str) -> None:
        self.call = call
        self.node = node

    async def send(self, url: str = ADDRESS_TYPE, **fields: Any) -> None:
        """A request."""
        request = DeltaDiscoveryRequest(type_url=url, **fields)
        request.node.id = self.node
        await self.call.write(request)

    async def receive(self, *, ack: bool = True) -> Any:
        """The next response, acknowledged."""
        response = await asyncio.wait_for(self.call.read(), SECONDS)
        assert response is not grpc.aio.EOF
        if ack:
            await self.send(response.type_url, response_nonce=response.nonce)
        return response

    async def names(self) -> tuple[list[str], list[str]]:
        """Names that the next response updates and removes."""
        response = await self.receive()
        return [r.name for r in response.resources], list(response.removed_resources)


class Control:
    """The control plane, its folder of manifests and clients of it."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.socket = state / "control.sock"
        self.engine = Engine(SETTINGS, StateStore(state / "control"))
        self.files = ManifestFiles((folder,), self.engine)
        self.gate = Gate(SETTINGS.nodes)
        self.ads = AdsService(self.engine, self.gate)
        self.tasks = Tasks()

    async def start(self) -> None:
        await self.files.read_all()
        await self.engine.step()
        self.server, port = await serve_ads(self.ads, "127.0.0.1:0")
        self.tasks.spawn(self.engine.run(), "views")
        self.tasks.spawn(self.files.run(), "files")
        self.api = await serve_api(
            Api(self.engine, self.ads, self.gate).application(), self.socket
        )
        connector = aiohttp.UnixConnector(str(self.socket))
        self.http = aiohttp.ClientSession("http://control", connector=connector)
        self.target = f"127.0.0.1:{port}"
        self.channel = grpc.aio.insecure_channel(self.target)

    async def stop(self) -> None:
        await self.http.close()
        await self.channel.close()
        await self.tasks.close()
        await self.api.cleanup()
        await self.server.stop(None)

    def write(self, text: str, file: str = "mesh.yaml") -> None:
        """Write a manifest as editors do."""
        scratch = self.folder / f".{file}.new"
        scratch.write_text(text)
        scratch.replace(self.folder / file)

    def stream(self, node: str = DAEMON) -> Stream:
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(self.channel)
        return Stream(stub.DeltaAggregatedResources(), node)

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Status and JSON of an answer of the API."""
        async with self.http.request(method, path, **more) as answer:
            text = await answer.text()
            return answer.status, await answer.json() if text else None

    async def report(self, *, ready: bool = True) -> None:
        """Say of every pod that it runs, as the runner does."""
        _, snapshot = await self.ask("GET", "/v1/snapshot")
        for number, pod in enumerate(snapshot["pods"]):
            path = f"/v1/pods/{pod['namespace']}/{pod['name']}/status"
            body = {
                "uid": pod["uid"], "node": pod["node"], "ips": [f"10.244.1.{number + 10}"],
                "phase": "Running", "ready": ready, "restarts": 0, "message": "",
            }  # fmt: skip
            status, _ = await self.ask("PUT", path, json=body)
            assert status == 204
        await self.engine.settled()

    async def until(self, condition: Any) -> None:
        """Wait until a condition of the view holds."""
        async with asyncio.timeout(SECONDS):
            while not condition(self.engine.view):
                await self.engine.published.wait()


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    made = Control(tmp_path / "mesh", tmp_path)
    await made.start()
    yield made
    await made.stop()
