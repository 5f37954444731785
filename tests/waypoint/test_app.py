"""The whole waypoint: a real process in a network namespace, a control plane here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bpf.netns import in_netns
from proto import workload_pb2
from tests.support.netns import Netns, netns
from tests.waypoint.test_config import GOOD
from tests.ztunnel_compat.ads_server import AdsServer, Stream, resource, serving, workload
from waypoint.server import IDENTITY_PORT
from ztunnel_compat.runtime.admin import ADMIN_PORT, READY_PORT
from ztunnel_compat.xds import ADDRESS_TYPE, AUTHORIZATION_TYPE

XDS_PORT = 15012
ENVIRONMENT = GOOD | {"XDS_ADDRESS": f"127.0.0.1:{XDS_PORT}", "PYTHONPATH": "."}


@pytest.fixture
def place() -> Iterator[Netns]:
    with netns("127.0.0.1", "::1") as made:
        yield made


@dataclass
class Process:
    """A running waypoint."""

    place: Netns
    child: subprocess.Popen[str]

    async def get(self, port: int, path: str) -> tuple[int, str]:
        """Status and body; 0 when nobody listens."""
        url = f"http://127.0.0.1:{port}{path}"
        command = ["curl", "-s", "-m", "5", "-w", "\n%{http_code}", url, "||", "true"]
        shell = " ".join(f"'{w}'" if w.startswith(("http", "\n")) else w for w in command)
        text = await asyncio.to_thread(self.place.run, ["sh", "-c", shell])
        body, _, status = text.rpartition("\n")
        return int(status), body

    async def until_ready(self, status: int) -> str:
        async with asyncio.timeout(15):
            while True:
                got, text = await self.get(READY_PORT, "/healthz/ready")
                if got == status:
                    return text
                assert self.child.poll() is None, self.child.communicate()[1]
                await asyncio.sleep(0.05)

    async def end(self) -> tuple[int, str]:
        """Exit status, and what it said."""
        _, errors = await asyncio.to_thread(self.child.communicate, timeout=15)
        return self.child.returncode, errors


@contextlib.contextmanager
def process(place: Netns, environment: dict[str, str] = ENVIRONMENT) -> Iterator[Process]:
    child = subprocess.Popen(
        ["nsenter", f"--net={place.path}", sys.executable, "-m", "waypoint"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Process(place, child)
    finally:
        child.kill()
        child.communicate()


@contextlib.asynccontextmanager
async def control_plane(place: Netns) -> AsyncIterator[AdsServer]:
    server = serving(XDS_PORT)
    with in_netns(place.fd):
        ads = await server.__aenter__()
    try:
        yield ads
    finally:
        await server.__aexit__(None, None, None)


def gate() -> Any:
    host = "gate.apps.svc.cluster.local"
    message = workload_pb2.Service(name="gate", namespace="apps", hostname=host)
    address = workload_pb2.Address(service=message)
    return resource(f"apps/{host}", "1", ADDRESS_TYPE, address)


def knock(place: Netns) -> bytes:
    """Connect without a proof of who it is; the reset may already meet connect()."""
    with place.open_socket() as unproven:
        unproven.connect(("127.0.0.1", IDENTITY_PORT))
        return unproven.recv(1)


async def push(ads: AdsServer, *resources: Any) -> Stream:
    stream = await ads.stream()
    await stream.begin()
    stream.push("1", *resources)
    stream.answer(AUTHORIZATION_TYPE, "2")
    return stream


def was_reset(connection: socket.socket) -> bool:
    """Connect; whether that was answered by a reset, before connect() returned or after."""
    try:
        connection.connect(("127.0.0.1", IDENTITY_PORT))
        connection.recv(1)
    except ConnectionResetError:
        return True
    return False


async def test_from_start_to_end(place: Netns) -> None:
    async with control_plane(place) as ads:
        with process(place) as waypoint:
            text = await waypoint.until_ready(503)
            assert text == f"not ready: no complete push from 127.0.0.1:{XDS_PORT} yet\n"
            assert (await waypoint.get(IDENTITY_PORT, "/"))[0] == 0
            await push(ads, gate(), workload("w", name="w", namespace="apps"))
            assert await waypoint.until_ready(200) == "ready\n"
            with place.open_socket() as unproven:
                assert await asyncio.to_thread(was_reset, unproven)
            status, text = await waypoint.get(ADMIN_PORT, "/config_dump")
            dump = json.loads(text)
            assert status == 200
            assert dump["services"].keys() == {"apps/gate.apps.svc.cluster.local"}
            assert dump["workloads"].keys() == {"w"}
            assert dump["counters"]["refused"] == {"no_peer": 1}
            assert dump["config"]["gateway_name"] == "gate"
            assert dump["xds"]["synced"]
            assert dump["xds"]["node"] == "waypoint~10.0.0.1~gate-1.apps~apps.svc.cluster.local"
            await ads.kill()
            assert await waypoint.until_ready(200) == "ready\n"
            waypoint.child.send_signal(signal.SIGTERM)
            code, errors = await waypoint.end()
            assert code == 0
            assert "Traceback" not in errors
            assert errors.endswith("stopped\n")


async def test_bad_settings_end_it(place: Netns) -> None:
    with process(place, ENVIRONMENT | {"L4_MODE": "none"}) as waypoint:
        code, errors = await waypoint.end()
    assert code == 2
    assert "L4_MODE='none'" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("port", [ADMIN_PORT, READY_PORT, IDENTITY_PORT])
async def test_a_port_that_is_taken_ends_it(place: Netns, port: int) -> None:
    with place.listen("0.0.0.0", port):
        async with control_plane(place) as ads:
            with process(place) as waypoint:
                if port == IDENTITY_PORT:
                    await push(ads, gate())
                code, errors = await waypoint.end()
    assert code == 1
    assert f"can't listen on port {port}" in errors
