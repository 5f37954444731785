"""The process itself: started, killed, started again."""

from __future__ import annotations

import asyncio
import json
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from deploy.standalone.client import ControlClient, ControlError
from deploy.standalone.control.ads.gate import Gate
from deploy.standalone.control.app import open_gate
from deploy.standalone.control.engine import Engine
from deploy.standalone.control.state import StateStore
from deploy.standalone.control.translate.resources import ADDRESS_TYPE
from deploy.standalone.control.waypoints import PACKAGES
from proto import ca_pb2, ca_pb2_grpc
from tests.deploy.standalone.control.ca.test_service import make_csr
from tests.deploy.standalone.control.conftest import DAEMON, bearer
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    SETTINGS,
    deployment,
    documents,
    service,
)

SECONDS = 20


def eventually(ask: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            if answer := ask():
                return answer
        except (ControlError, OSError):
            pass
        time.sleep(0.02)
    raise AssertionError(f"not within {SECONDS} s: {what}")


class Process:
    def __init__(self, state: Path, files: Path, port: int) -> None:
        self.client = ControlClient(state / "control.sock")
        self.roots = state / "roots.pem"
        self.log = state / "log"
        arguments = ["--mesh", "t", "--state-dir", str(state), "--file", str(files)]
        arguments += ["--service-cidr4", "10.96.0.0/16", "--service-cidr6", "fd00:10:96::/112"]
        arguments += ["--node", "node1=127.0.0.1", "--listen", f"127.0.0.1:{port}"]
        arguments += ["--xds-address", f"127.0.0.1:{port}"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.standalone.control", *arguments],
                cwd=PACKAGES, stderr=log, env={"PYTHONPATH": str(PACKAGES)},
            )  # fmt: skip

    def epoch(self) -> str:
        assert self.process.poll() is None, self.log.read_text()
        return str(self.client.snapshot()["epoch"])

    def post(self, method: str, path: str, body: Any) -> Any:
        return self.client._ask(method, path, json.dumps(body))  # the client has no word for it

    def report(self) -> None:
        for number, pod in enumerate(self.client.snapshot()["pods"]):
            body = {
                "uid": pod["uid"], "node": "node1", "ips": [f"10.244.1.{number + 10}"],
                "phase": "Running", "ready": True, "restarts": 0, "message": "",
            }  # fmt: skip
            path = f"/v1/pods/{pod['namespace']}/{pod['name']}/status"
            try:
                self.post("PUT", path, body)
            except json.JSONDecodeError:
                pass  # 204: no content

    def synced(self) -> None:
        try:
            self.post("POST", "/v1/synced", {"node": "node1"})
        except json.JSONDecodeError:
            pass

    def dump_when_settled(self) -> dict[str, Any] | None:
        dump = self.client.dump()
        waypoint = dump["services"]["shop/web.shop.svc.cluster.local"].get("waypoint")
        return dump if waypoint and len(dump["workloads"]) == 2 else None

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@contextmanager
def running(state: Path, files: Path, port: int) -> Iterator[Process]:
    process = Process(state, files, port)
    try:
        eventually(process.epoch, "the API answers")
        yield process
    finally:
        if process.process.poll() is None:
            process.process.kill()
            process.process.wait(SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def first_answer(process: Process, port: int) -> dict[str, str]:
    token = process.post("POST", "/v1/tokens", {"node": "node1"})["token"]
    roots = grpc.ssl_channel_credentials(process.roots.read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{port}", roots) as channel:
        request = DeltaDiscoveryRequest(type_url=ADDRESS_TYPE)
        request.node.id = DAEMON
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
        requests: queue.SimpleQueue[DeltaDiscoveryRequest | None] = queue.SimpleQueue()
        requests.put(request)
        answers = stub.DeltaAggregatedResources(
            iter(requests.get, None),
            timeout=SECONDS,
            metadata=bearer(token),
        )
        found = {resource.name: resource.version for resource in next(answers).resources}
        requests.put(None)
        return found


def test_killed_and_started_again_it_says_the_same(tmp_path: Path) -> None:
    files = tmp_path / "mesh"
    files.mkdir()
    text = documents(AMBIENT, GATEWAY, service("web"), deployment("web"))
    (files / "mesh.yaml").write_text(text)
    port = free_port()
    with running(tmp_path, files, port) as first:
        first.client.apply(service("applied"))
        first.report()
        first.synced()
        before = eventually(first.dump_when_settled, "what was reported is in force")
        versions = first_answer(first, port)
        epoch = first.epoch()
        assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    # What was good stays in force even if its file is broken meanwhile.
    (files / "mesh.yaml").write_text(text + "\nbroken: [")
    with running(tmp_path, files, port) as second:
        assert second.epoch() != epoch
        second.report()
        second.synced()
        after = eventually(second.dump_when_settled, "what was reported is in force")
        assert after["services"] == before["services"]
        assert after["workloads"] == before["workloads"]
        assert first_answer(second, port) == versions
        assert any("not valid YAML" in error["message"] for error in after["errors"])
        assert second.stop(signal.SIGTERM) == 0


def test_a_restarted_process_pushes_nothing_before_the_nodes_have_reported(
    tmp_path: Path,
) -> None:
    (tmp_path / "mesh.yaml").write_text(documents(AMBIENT, service("web"), deployment("web")))
    port = free_port()
    with running(tmp_path, tmp_path / "mesh.yaml", port) as process:
        started = time.monotonic()
        process.report()
        names = first_answer(process, port)
        assert time.monotonic() - started > 1, "nobody said synced: it waits"
        assert len(names) == 2, "and then answers with what it was told"


async def test_the_gate_opens_when_what_was_reported_is_in_the_view(tmp_path: Path) -> None:
    engine = Engine(SETTINGS, StateStore(tmp_path))
    gate = Gate(SETTINGS.nodes)
    gate.synced("node1")
    engine.touch()
    opening = asyncio.ensure_future(open_gate(gate, engine, gate.open))
    await asyncio.wait_for(gate.complete.wait(), SECONDS)
    await asyncio.sleep(0)
    assert not gate.opened.is_set()
    await engine.step()
    await asyncio.wait_for(opening, SECONDS)
    assert gate.opened.is_set()


def test_what_prevents_a_start_is_said(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, tmp_path, port) as first:
        second = Process(tmp_path, tmp_path, port)
        assert second.process.wait(SECONDS) == 2
        assert "is another control plane running?" in second.log.read_text()
        assert first.epoch()


def certificate(process: Process, port: int) -> str:
    """A certificate of node1's agent: the trusted roots that came with it."""
    token = process.post("POST", "/v1/tokens", {"node": "node1"})["token"]
    roots = grpc.ssl_channel_credentials(process.roots.read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{port}", roots) as channel:
        answer = ca_pb2_grpc.IstioCertificateServiceStub(channel).CreateCertificate(
            ca_pb2.IstioCertificateRequest(csr=make_csr()),
            timeout=SECONDS,
            metadata=bearer(token),
        )
    return str(answer.cert_chain[-1])


def test_a_change_of_the_root_outlives_its_process(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, tmp_path / "mesh.yaml", port) as first:
        assert certificate(first, port).count("BEGIN CERTIFICATE") == 1
        before = first.client.rotate_root()
        assert certificate(first, port).count("BEGIN CERTIFICATE") == 2
        both = first.roots.read_text()
        assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    with running(tmp_path, tmp_path / "mesh.yaml", port) as second:
        # The certificate that was issued before holds for a day: so long nothing changes.
        assert second.client.dump()["ca"] == before
        assert certificate(second, port) == both == second.roots.read_text()


def test_a_bad_file_of_the_authority_prevents_a_start(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, tmp_path / "mesh.yaml", port) as first:
        assert first.stop(signal.SIGTERM) == 0
    key = tmp_path / "control" / "ca" / "token.key"
    key.chmod(0o644)
    second = Process(tmp_path, tmp_path / "mesh.yaml", port)
    assert second.process.wait(SECONDS) == 2
    assert f"{key}: others may use it (mode 0644)" in second.log.read_text()
