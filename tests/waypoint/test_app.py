"""The whole waypoint: a real process in a network namespace, a control plane here."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from bpf.netns import in_netns
from proto import workload_pb2
from tests.support.netns import Netns, netns
from tests.waypoint.mesh import until
from tests.waypoint.test_config import GOOD
from tests.ztunnel_compat.ads_server import (
    AdsServer,
    Stream,
    resource,
    serving,
    settings,
    workload,
)
from waypoint.hbone.server import HBONE_PORT
from waypoint.server import IDENTITY_PORT
from ztunnel_compat.certificates import peer_identity
from ztunnel_compat.identity import Identity
from ztunnel_compat.proxy_protocol import ProxyHeader, encode_proxy
from ztunnel_compat.runtime.admin import ADMIN_PORT, READY_PORT
from ztunnel_compat.runtime.metrics import METRICS_PORT
from ztunnel_compat.xds import ADDRESS_TYPE, AUTHORIZATION_TYPE

XDS_PORT = 15012
#: linux/fcntl.h
F_SETPIPE_SZ = 1031
ENVIRONMENT = GOOD | settings(XDS_PORT) | {"PYTHONPATH": "."}


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

    async def until_ready(self, status: int, said: str = "") -> str:
        async with asyncio.timeout(15):
            while True:
                got, text = await self.get(READY_PORT, "/healthz/ready")
                if got == status and said in text:
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
            text = await waypoint.until_ready(503, "push")
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
            for path in ("/stats/prometheus", "/metrics"):
                assert (
                    await metric(waypoint, 'connections_refused_total{reason="no_peer"}', path)
                    == 1
                )
            assert dump["config"]["gateway_name"] == "gate"
            assert dump["xds"]["synced"]
            assert dump["xds"]["node"] == "waypoint~10.0.0.1~gate-1.apps~apps.svc.cluster.local"
            await ads.kill()
            assert await waypoint.until_ready(200) == "ready\n"
            waypoint.child.send_signal(signal.SIGTERM)
            code, errors = await waypoint.end()
            assert code == 0
            assert "Traceback" not in errors
            assert "\tstopped\n" in errors


async def test_several_workers_share_the_port_and_are_one_waypoint(place: Netns) -> None:
    environment = ENVIRONMENT | {"WORKERS": "2"}
    async with control_plane(place) as ads:
        with process(place, environment) as waypoint:
            text = await waypoint.until_ready(503, "worker 0: ")
            assert "worker 1: " in text
            await push(ads, gate())
            while "; " in text:
                text = await waypoint.until_ready(503)
            await push(ads, gate())
            assert await waypoint.until_ready(200) == "ready\n"

            def knock_often() -> None:
                for _ in range(1000):
                    with contextlib.suppress(ConnectionResetError):
                        knock(place)

            await asyncio.to_thread(knock_often)
            workers = await dumps(waypoint)
            refused = [each["counters"]["refused"]["no_peer"] for each in workers.values()]
            assert sum(refused) == 1000
            assert max(refused) <= 600, refused
            assert await metric(waypoint, 'connections_refused_total{reason="no_peer"}') == 1000
            assert (await waypoint.get(ADMIN_PORT, "/nothing"))[0] == 404

            first, second = children(waypoint)
            os.kill(second, signal.SIGKILL)
            assert "worker" in await waypoint.until_ready(503)
            await push(ads, gate())
            await waypoint.until_ready(200)
            assert len(await dumps(waypoint)) == 2
            assert first in children(waypoint)
            with contextlib.suppress(ConnectionResetError):
                knock(place)
            assert await metric(waypoint, 'connections_refused_total{reason="no_peer"}') == 1001
            assert await metric(waypoint, "worker_starts_total") == 3

            left = children(waypoint)
            waypoint.child.send_signal(signal.SIGTERM)
            code, errors = await waypoint.end()
            assert code == 0, errors
            assert "ended with status -9" in errors
            assert "Traceback" not in errors
            assert not any(Path(f"/proc/{pid}").exists() for pid in left)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_log_that_nobody_reads_holds_nobody_up(place: Netns, workers: str) -> None:
    async with control_plane(place) as ads:
        with process(place, ENVIRONMENT | {"WORKERS": workers}) as waypoint:
            assert waypoint.child.stderr is not None
            # Some forty lines.
            fcntl.fcntl(waypoint.child.stderr.fileno(), F_SETPIPE_SZ, 4096)
            for _ in range(int(workers)):
                await push(ads, gate())
            await waypoint.until_ready(200)

            def knock_often() -> None:
                for _ in range(400):
                    with place.open_socket() as unproven:
                        unproven.settimeout(5)
                        with contextlib.suppress(ConnectionResetError):
                            unproven.connect(("127.0.0.1", IDENTITY_PORT))
                            unproven.recv(1)

            await asyncio.to_thread(knock_often)
            assert await metric(waypoint, 'connections_refused_total{reason="no_peer"}') == 400
            waypoint.child.send_signal(signal.SIGTERM)
            code, errors = await waypoint.end()
            assert code == 0
            # What waited was written after all, by whoever of them wrote it.
            assert errors.count("refused a connection") == 400


async def test_workers_don_t_outlive_their_parent(place: Netns) -> None:
    async with control_plane(place) as ads:
        with process(place, ENVIRONMENT | {"WORKERS": "2"}) as waypoint:
            for _ in range(2):
                await push(ads, gate())
            await waypoint.until_ready(200)
            left = children(waypoint)
            assert len(left) == 2
            waypoint.child.kill()
            await until(lambda: not any(alive(pid) for pid in left), 15)


def alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def children(waypoint: Process) -> list[int]:
    """The workers, in the order of their start."""
    pid = waypoint.child.pid
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def metric(waypoint: Process, name: str, path: str = "/metrics") -> int:
    """A number of the waypoint's own."""
    status, text = await waypoint.get(METRICS_PORT, path)
    assert status == 200
    lines = dict(line.rpartition(" ")[::2] for line in text.splitlines())
    return int(lines[f"tandem_waypoint_{name}"])


async def dumps(waypoint: Process) -> dict[str, Any]:
    status, text = await waypoint.get(ADMIN_PORT, "/config_dump")
    assert status == 200
    workers: dict[str, Any] = json.loads(text)["workers"]
    return workers


def certificate_at(place: Netns, port: int) -> bytes:
    """What a server shows, as DER; who asks shows none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with place.open_socket() as plain:
        plain.connect(("127.0.0.1", port))
        with context.wrap_socket(plain) as secured:
            assert secured.version() == "TLSv1.3"
            found = secured.getpeercert(binary_form=True)
            assert found is not None
            return found


async def test_a_waypoint_that_is_not_enrolled_has_a_certificate_of_its_own(
    place: Netns,
) -> None:
    own = Identity("cluster.local", "apps", "gate")
    environment = ENVIRONMENT | {"L4_MODE": "none", "SERVICE_ACCOUNT": "gate"}
    async with control_plane(place) as ads:
        ads.ca.refusal = (grpc.StatusCode.UNAVAILABLE, "the CA is away")
        ads.ca.identity = own
        with process(place, environment) as waypoint:
            await waypoint.until_ready(503)
            await push(ads, gate())
            while "the CA is away" not in (text := await waypoint.until_ready(503)):
                pass
            assert f"no certificate for {own}" in text
            assert (await waypoint.get(HBONE_PORT, "/"))[0] == 0
            ads.ca.refusal = None
            await waypoint.until_ready(200)
            assert [asked for asked, _ in ads.ca.asked] == [""] * len(ads.ca.asked)
            found = await asyncio.to_thread(certificate_at, place, HBONE_PORT)
            assert peer_identity(found) == own
            assert (await waypoint.get(IDENTITY_PORT, "/"))[0] == 0
            dump = json.loads((await waypoint.get(ADMIN_PORT, "/config_dump"))[1])
            assert dump["config"]["l4_mode"] == "none"
            (certificate,) = dump["hbone"]["certificates"]
            assert (certificate["identity"], certificate["state"]) == (str(own), "Available")
            assert "PRIVATE" not in json.dumps(dump)
            waypoint.child.send_signal(signal.SIGTERM)
            code, errors = await waypoint.end()
            assert code == 0, errors
            assert "Traceback" not in errors


async def test_within_a_ztunnel_s_pod_a_header_is_taken_on_loopback(place: Netns) -> None:
    header = ProxyHeader(
        bytes([10, 0, 0, 9]), 4711, bytes([10, 96, 0, 7]), 80,
        Identity("cluster.local", "apps", "client"),
    )  # fmt: skip

    def say(data: bytes, address: str = "127.0.0.1") -> socket.socket:
        made = place.open_socket()
        made.connect((address, IDENTITY_PORT))
        made.sendall(data)
        return made

    async with control_plane(place) as ads:
        with process(place, ENVIRONMENT | {"L4_MODE": "sandwich"}) as waypoint:
            await push(ads, gate())
            await waypoint.until_ready(200)
            with pytest.raises(ConnectionRefusedError):
                say(b"", "127.0.0.2")
            for nobody in (encode_proxy(replace(header, identity=None)), b"GET / HTTP/1.1\r\n"):
                with say(nobody) as unproven, pytest.raises(ConnectionResetError):
                    await asyncio.to_thread(unproven.recv, 1)
            with say(encode_proxy(header)) as tunnelled:
                # Nobody has told of its target yet: that is waited for.
                dump: dict[str, Any] = {"connections": {"waiting": 0}}
                while not dump["connections"]["waiting"]:
                    dump = json.loads((await waypoint.get(ADMIN_PORT, "/config_dump"))[1])
                assert dump["counters"]["refused"] == {"proxy_header": 2}
                with pytest.raises(ConnectionResetError):
                    await asyncio.to_thread(tunnelled.recv, 1)


async def test_bad_settings_end_it(place: Netns) -> None:
    with process(place, ENVIRONMENT | {"L4_MODE": "else"}) as waypoint:
        code, errors = await waypoint.end()
    assert code == 2
    assert "L4_MODE='else'" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("port", [ADMIN_PORT, READY_PORT, METRICS_PORT, IDENTITY_PORT])
async def test_a_port_that_is_taken_ends_it(place: Netns, port: int) -> None:
    with place.listen("0.0.0.0", port):
        async with control_plane(place) as ads:
            with process(place) as waypoint:
                if port == IDENTITY_PORT:
                    await push(ads, gate())
                code, errors = await waypoint.end()
    assert code == 1
    assert f"can't listen on port {port}" in errors
