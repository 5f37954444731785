"""A control plane in this process: real files, a real unix socket, real gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from deploy.standalone.control.ads.gate import Gate
from deploy.standalone.control.ads.server import AdsService
from deploy.standalone.control.api.handlers import Api
from deploy.standalone.control.api.server import serve as serve_api
from deploy.standalone.control.auth.desk import TokenDesk
from deploy.standalone.control.auth.guard import Guard
from deploy.standalone.control.auth.tokens import Tokens
from deploy.standalone.control.ca.authority import Authority, CaSettings
from deploy.standalone.control.ca.service import CertificateService
from deploy.standalone.control.engine import Engine
from deploy.standalone.control.files import ManifestFiles
from deploy.standalone.control.pods import DesiredPod
from deploy.standalone.control.server import serve
from deploy.standalone.control.state import StateStore
from deploy.standalone.control.translate.resources import ADDRESS_TYPE
from tests.deploy.standalone.control.helpers import SETTINGS
from ztunnel_compat.runtime.tasks import Tasks

DAEMON = "ztunnel~10.244.255.1~node1.tandem-system~tandem-system.svc.cluster.local"
WAYPOINT = "waypoint~10.244.1.9~waypoint-x-0.shop~shop.svc.cluster.local"
SECONDS = 10


#: Where tests call from, and where they don't.
HERE, ELSEWHERE = ip_address("127.0.0.1"), ip_address("10.244.255.2")


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """A token as clients send it."""
    return (("authorization", f"Bearer {token}"),)


class Stream:
    """A client's delta stream of Addresses."""

    def __init__(self, call: Any, node: str) -> None:
        self.call = call
        self.node = node

    async def send(self, url: str = ADDRESS_TYPE, node_name: str = "", **fields: Any) -> None:
        """A request."""
        request = DeltaDiscoveryRequest(type_url=url, **fields)
        request.node.id = self.node
        if node_name:
            request.node.metadata.update({"NODE_NAME": node_name})
        await self.call.write(request)

    async def send_and_read(self) -> Any:
        """A request, and what comes of it."""
        await self.send()
        return await self.call.read()

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
        self.nodes = {"node1": frozenset({HERE}), "node2": frozenset({ELSEWHERE})}
        self.ca_settings = CaSettings(
            state / "control" / "ca", state / "roots.pem", "cluster.local", ("127.0.0.1",)
        )
        self.now: Callable[[], float] = time.time
        self.tasks = Tasks()

    def clock(self) -> float:
        """The authority's clock, which a test may change."""
        return self.now()

    async def start(self) -> None:
        self.authority = await Authority.open(self.ca_settings, self.clock)
        self.tokens = Tokens(self.authority.token_key)
        self.guard = Guard(self.tokens, self.engine, self.gate, self.nodes)
        self.desk = TokenDesk(self.tokens, self.engine, self.nodes)
        self.ads = AdsService(self.engine, self.gate, self.guard)
        await self.files.read_all()
        await self.engine.step()
        self.server, port = await serve(
            self.ads,
            CertificateService(self.authority, self.guard),
            self.authority,
            "127.0.0.1:0",
        )
        self.tasks.spawn(self.engine.run(), "views")
        self.tasks.spawn(self.files.run(), "files")
        self.api = await serve_api(
            Api(self.engine, self.ads, self.gate, self.desk, self.authority).application(),
            self.socket,
        )
        connector = aiohttp.UnixConnector(str(self.socket))
        self.http = aiohttp.ClientSession("http://control", connector=connector)
        self.target = f"127.0.0.1:{port}"
        self.channel = self.connect(self.authority.roots)

    def connect(self, roots: bytes) -> Any:
        """A channel of its own to port 15012, which must show a certificate of these."""
        return grpc.aio.secure_channel(
            self.target,
            grpc.ssl_channel_credentials(roots),
            options=[("grpc.use_local_subchannel_pool", 1)],
        )

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

    def token(self, node: str = DAEMON) -> str:
        """The token of node1's agent, or of the waypoint's pod."""
        if not node.startswith("waypoint~"):
            return self.desk.for_agent("node1").token
        pod = self.waypoint_pod()
        return self.desk.for_pod(*pod.full_name, pod.uid).token

    def waypoint_pod(self) -> DesiredPod:
        """The waypoint's only pod."""
        (pod,) = [p.pod for p in self.engine.view.pods.values() if p.pod.gateway]
        return pod

    def waypoint(self) -> Stream:
        """A stream of that pod."""
        pod = self.waypoint_pod()
        return self.stream(f"waypoint~10.244.1.9~{pod.name}.shop~shop.svc.cluster.local")

    def stream(self, node: str = DAEMON, token: str = "") -> Stream:
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(self.channel)
        metadata = bearer(token or self.token(node))
        return Stream(stub.DeltaAggregatedResources(metadata=metadata), node)

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
            here = pod["service_account"] == "waypoint"  # it is the test that calls
            ip = str(HERE) if here else f"10.244.1.{number + 10}"
            body = {
                "uid": pod["uid"], "node": pod["node"], "ips": [ip],
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
