from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bpf.layout import Flow, FlowFlag, FlowKey, TrafficKey
from bpf.maps import Maps
from daemon.sock_diag import Socket, TcpState
from daemon.telemetry.open_flows import LASTING, SURELY_STALE, OpenFlows
from tests.bpf.engine import CLIENT, SERVER, engine
from tests.support.netns import netns as new_netns
from tests.support.netns import pair
from ztunnel_compat.names import target_hash

NOW = 10 * SURELY_STALE
COOKIE = 77
HERE, THERE = bytes(15) + b"\1", bytes(15) + b"\2"


class Sockets:
    """Answers as told."""

    def __init__(self, *found: Socket) -> None:
        self.found = list(found)
        self.closed = False
        self.error: OSError | None = None

    def dump(self, *_states: TcpState, counted: bool) -> list[Socket]:
        assert counted
        if self.error:
            raise self.error
        return self.found

    def close(self) -> None:
        self.closed = True


class Scene:
    """Flows in memory, and one pod."""

    def __init__(self) -> None:
        self.maps = Maps.memory()
        self.open = OpenFlows(self.maps.flows, lambda: NOW)
        self.pod = Sockets()
        self.open.pods[COOKIE] = self.pod  # type: ignore[assignment]

    def flow(self, port: int, age: int, *, netns: int = COOKIE, loopback: bool = False) -> Flow:
        made = Flow(
            source=1,
            target=2,
            destination=3,
            flags=FlowFlag.SERVICE | FlowFlag.COUNTED,
            started=NOW - age,
            established=NOW - age + 1,
            netns=netns,
        )
        self.maps.flows.put(FlowKey(HERE, THERE, port, 80, netns if loopback else 0), made)
        return made

    def ports(self) -> set[int]:
        return {key.source_port for key, _ in self.maps.flows.items()}


def open_socket(port: int, acked: int = 101, received: int = 50) -> Socket:
    return Socket(1, HERE, port, THERE, 80, socket.AF_INET6, b"", 0, acked, received)


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.open.close()


def test_bytes_of_a_lasting_connection(scene: Scene) -> None:
    scene.flow(1, LASTING + 1)
    scene.pod.found = [open_socket(1)]
    found = scene.open.look()
    assert scene.open.still_open(found) == [(TrafficKey(1, 2, 3, FlowFlag.SERVICE), 100, 50)]
    assert found.stale == []


def test_what_comes_by_a_tunnel_is_not_the_kernels_to_sum(scene: Scene) -> None:
    brought = replace(scene.flow(1, LASTING + 1), flags=FlowFlag.TUNNELLED)
    scene.maps.flows.put(FlowKey(HERE, THERE, 1, 80), brought)
    scene.pod.found = [open_socket(1)]
    found = scene.open.look()
    assert (found.live, found.stale) == ([], [])


def test_short_ones_are_not_asked_after(scene: Scene) -> None:
    scene.flow(1, LASTING - 1)
    scene.pod.error = OSError("not to be asked")
    assert scene.open.look().flows == 1


def test_one_that_closes_meanwhile_is_the_kernels(scene: Scene) -> None:
    scene.flow(1, LASTING + 1)
    scene.pod.found = [open_socket(1)]
    found = scene.open.look()
    scene.maps.flows.delete(FlowKey(HERE, THERE, 1, 80))
    assert scene.open.still_open(found) == []


def test_a_flow_without_a_socket_is_swept(scene: Scene) -> None:
    scene.flow(1, SURELY_STALE + 1)
    scene.flow(2, SURELY_STALE + 1)
    scene.flow(3, SURELY_STALE - 1)
    scene.flow(4, SURELY_STALE + 1, netns=COOKIE + 1)  # of a namespace that isn't held
    scene.pod.found = [open_socket(2)]
    found = scene.open.look()
    assert scene.open.sweep(found.stale) == 1
    assert scene.ports() == {2, 3, 4}
    assert scene.open.swept == 1


def test_a_tuple_that_was_taken_anew_stays(scene: Scene) -> None:
    scene.flow(1, SURELY_STALE + 1)
    found = scene.open.look()
    scene.flow(1, 1)
    assert scene.open.sweep(found.stale) == 0
    assert scene.ports() == {1}


def test_loopback_flows_are_swept_but_not_counted(scene: Scene) -> None:
    scene.flow(1, SURELY_STALE + 1, loopback=True)
    scene.flow(2, SURELY_STALE + 1, loopback=True)
    scene.pod.found = [open_socket(1)]
    found = scene.open.look()
    assert found.live == []
    assert scene.open.sweep(found.stale) == 1
    assert scene.ports() == {1}


def test_no_answer_is_no_reason_to_sweep(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.flow(1, SURELY_STALE + 1)
    scene.pod.error = OSError("broken")
    assert scene.open.look().stale == []
    assert "no answer about sockets: broken" in caplog.text


def test_a_pod_that_left_is_asked_no_more(scene: Scene) -> None:
    scene.flow(1, SURELY_STALE + 1)
    scene.open.drop(COOKIE)
    scene.open.drop(COOKIE)
    assert scene.pod.closed
    assert scene.open.look().stale == []


def test_a_real_netns_is_held_once() -> None:
    flows = OpenFlows(Maps.memory().flows)
    with new_netns() as here:
        flows.hold(1, here.fd)
        first = flows.pods[1]
        flows.hold(1, here.fd)
        assert flows.pods[1] is first
        assert flows.sockets(1) == {}
    flows.close()
    assert flows.pods == {}


def test_what_cannot_be_held_is_said(caplog: pytest.LogCaptureFixture) -> None:
    flows = OpenFlows(Maps.memory().flows)
    with Path("/dev/null").open() as no_netns:
        flows.hold(1, no_netns.fileno())
    assert flows.pods == {}
    assert "sockets can't be asked for" in caplog.text


def test_on_the_real_kernel() -> None:
    """A connection through the hooks lives, a flow that somebody left does not."""
    with pair() as (client, server), engine("flows") as mesh:
        mesh.enroll(client)
        mesh.workload(server.v4)
        flows = OpenFlows(mesh.maps.flows, lambda: time.monotonic_ns() + SURELY_STALE)
        flows.hold(client.cookie, client.fd)
        left = FlowKey(HERE, THERE, 1, 80)
        mesh.maps.flows.put(left, Flow(CLIENT, started=1, netns=client.cookie))
        with server.listen(server.v4, 8080) as listener, client.open_socket() as s:
            s.connect((server.v4, 8080))
            accepted, _ = listener.accept()
            with accepted:
                s.sendall(b"hello")
                accepted.sendall(accepted.recv(5) * 2)
                assert s.recv(10) == b"hellohello"
                found = flows.look()
                key = TrafficKey(CLIENT, target_hash(SERVER, 8080), SERVER)
                assert flows.still_open(found) == [(key, 5, 10)]
                assert [entry[0] for entry in found.stale] == [left]
                assert flows.sweep(found.stale) == 1
                assert mesh.flow(s, (server.v4, 8080)) is not None
        flows.close()
