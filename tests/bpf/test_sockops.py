"""sockops: flows come with the SYN and go with the client's socket."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from bpf.elements import update
from bpf.kernel import pinned
from bpf.knobs import Knobs
from bpf.layout import Counter, FlowFlag
from tests.bpf.engine import (
    CLIENT,
    SERVER,
    SERVICE,
    SMALL,
    WAYPOINT,
    Engine,
    engine,
    eventually,
    packed,
    peer,
)
from tests.support.netns import Netns
from ztunnel_compat.names import target_hash

VIP = "10.96.1.1"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def connected(
    mesh: Engine, client: Netns, server: Netns, family: int
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's socket and the accepted one, with a flow between."""
    mesh.enroll(client)
    mesh.workload(server.address(family))
    with server.listen(server.address(family), 8080) as listener:
        s = client.open_socket(family)
        s.connect((server.address(family), 8080))
        accepted, _ = listener.accept()
        assert flows(mesh) == 1
        with s, accepted:
            yield s, accepted


def flows(mesh: Engine) -> int:
    return len(list(mesh.maps.flows.items()))


Pair = tuple[socket.socket, socket.socket]


def test_a_flow_ends_when_the_client_closes_first(mesh: Engine, connected: Pair) -> None:
    s, accepted = connected
    s.close()
    assert accepted.recv(1) == b""
    accepted.close()
    eventually(lambda: flows(mesh) == 0)


def test_a_flow_ends_when_the_server_closes_first(mesh: Engine, connected: Pair) -> None:
    s, accepted = connected
    accepted.close()
    assert s.recv(1) == b""
    assert flows(mesh) == 1  # the client's half is open still
    s.close()
    eventually(lambda: flows(mesh) == 0)


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_flow_ends_with_a_reset(mesh: Engine, connected: Pair, who: str) -> None:
    s, accepted = connected
    resetting = s if who == "client" else accepted
    resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    resetting.close()
    eventually(lambda: flows(mesh) == 0)


def test_a_flow_ends_when_the_connect_is_refused(
    mesh: Engine, client: Netns, server: Netns, family: int
) -> None:
    mesh.enroll(client)
    mesh.workload(server.address(family))
    with client.open_socket(family) as s:
        with pytest.raises(ConnectionRefusedError):
            s.connect((server.address(family), 8080))
        assert flows(mesh) == 0


def test_a_flow_ends_with_its_process(mesh: Engine, client: Netns, server: Netns) -> None:
    mesh.enroll(client)
    mesh.workload(server.v4)
    code = (
        "import socket,sys; s=socket.create_connection((sys.argv[1],8080));"
        "print('up',flush=True); sys.stdin.read()"
    )
    with server.listen(server.v4, 8080) as listener:
        with client.popen(["/usr/bin/python3", "-c", code, server.v4]) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            accepted, _ = listener.accept()
            assert flows(mesh) == 1
            process.kill()
        with accepted:
            assert accepted.recv(1) == b""
    eventually(lambda: flows(mesh) == 0)


def test_a_flow_is_there_before_the_syn_is_answered(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    mesh.enroll(client)
    mesh.workload("10.99.0.77")  # nobody answers for it
    with client.open_socket() as s:
        s.setblocking(False)
        assert s.connect_ex(("10.99.0.77", 80)) == errno.EINPROGRESS
        assert flows(mesh) == 1
    eventually(lambda: flows(mesh) == 0)


def test_flows_outlive_their_pods_enrolment(mesh: Engine, connected: Pair) -> None:
    s, accepted = connected
    for cookie, _pod in list(mesh.maps.pods.items()):
        mesh.maps.pods.delete(cookie)
    assert flows(mesh) == 1
    accepted.close()
    s.close()
    eventually(lambda: flows(mesh) == 0)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_loopback_flow_is_its_namespaces_own(
    mesh: Engine, client: Netns, address: str
) -> None:
    mesh.enroll(client)
    mesh.workload(address)
    with client.listen(address, 8080) as listener, client.open_socket(listener.family) as s:
        s.connect((address, 8080))
        assert mesh.flow(s, (address, 8080), client.cookie) is not None
        assert mesh.flow(s, (address, 8080)) is None
        accepted, _ = listener.accept()
        with accepted:
            assert peer(accepted).source == CLIENT
    eventually(lambda: flows(mesh) == 0)


def test_a_socket_may_connect_again(mesh: Engine, client: Netns, server: Netns) -> None:
    """connect(AF_UNSPEC) dissolves an association: that flow ends, another begins."""
    mesh.enroll(client)
    mesh.workload(server.v4)
    with (
        server.listen(server.v4, 8080),
        server.listen(server.v4, 8081),
        client.open_socket() as s,
    ):
        s.connect((server.v4, 8080))
        dissolve(s)
        assert flows(mesh) == 0
        s.connect((server.v4, 8081))
        flow = mesh.flow(s, (server.v4, 8081))
        assert flow is not None
        assert flow.target == target_hash(SERVER, 8081)
    eventually(lambda: flows(mesh) == 0)


def test_a_stale_hand_over_is_not_taken(mesh: Engine, client: Netns, server: Netns) -> None:
    """A connect() that failed before its SYN leaves a slot; the next one isn't its."""
    mesh.enroll(client)
    mesh.vip(VIP)
    mesh.port(80, [("203.0.113.1", 80)])  # no route there
    client.run(["ip", "route", "replace", "unreachable", "203.0.113.0/24"])
    with server.listen(server.v4, 8080), client.open_socket() as s:
        assert s.connect_ex((VIP, 80)) in {errno.EHOSTUNREACH, errno.ENETUNREACH}
        s.connect((server.v4, 8080))
        flow = mesh.flow(s, (server.v4, 8080))
        assert flow is not None
        assert (flow.target, flow.flags) == (0, FlowFlag.OUTSIDE)


def dissolve(s: socket.socket) -> None:
    """connect() with AF_UNSPEC, which Python's socket can't say."""
    nowhere = struct.pack("=H14x", socket.AF_UNSPEC)
    assert ctypes.CDLL(None).connect(s.fileno(), nowhere, len(nowhere)) == 0


def test_a_full_flow_table_fails_closed(client: Netns, server: Netns) -> None:
    """One in the slot that all share, two in the hash."""
    small = {"flows": 2, "flow_slots": 1}
    sizes = Knobs(pods=8, addresses=8, ports=8, endpoints=64, pending=8, **small)
    with engine("full", sizes) as mesh, contextlib.ExitStack() as stack:
        mesh.enroll(client)
        mesh.enroll(server, SERVER, waypoint=WAYPOINT)
        mesh.workload(server.v4, identity_port=15088)
        mesh.vip(VIP, waypoint=WAYPOINT)
        mesh.port(80, [])
        mesh.port(0, [(server.v4, 15088)], WAYPOINT)
        stack.enter_context(server.listen(server.v4, 15088))
        with mesh.counts() as counts:
            for number in range(5):
                s = stack.enter_context(client.open_socket())
                assert s.connect_ex((VIP, 80)) == (0 if number < 3 else errno.ECONNREFUSED)
        assert counts[Counter.FLOW_TABLE_FULL] == 2
        assert counts[Counter.REFUSED_UNPROVEN] == 2


CALLER = """
import socket, sys
vip = sys.argv[1]
for _ in range(int(sys.argv[2])):
    with socket.create_connection((vip, 80), 5) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
"""


def test_sockets_that_share_a_slot_never_get_each_others(client: Netns, server: Netns) -> None:
    """One slot for all: none has another's, and none is lost."""
    sizes = Knobs(pods=8, addresses=8, ports=8, endpoints=64, flows=4096, pending=1)
    services = {8001: ("10.96.1.1", 111), 8002: ("10.96.1.2", 222)}
    with engine("slot", sizes) as mesh, contextlib.ExitStack() as stack:
        mesh.enroll(client)
        listeners = []
        for port, (vip, name) in services.items():
            mesh.vip(vip, name)
            mesh.port(80, [(server.v4, port)], name)
            listeners.append(stack.enter_context(server.listen(server.v4, port, 1024)))
        mesh.workload(server.v4)
        with mesh.counts() as counts:
            callers = [
                stack.enter_context(
                    client.popen(["/usr/bin/python3", "-c", CALLER, vip, "500"])
                )
                for vip, _name in list(services.values()) * 2
            ]
            told = 0
            while any(c.poll() is None for c in callers) or ready(listeners):
                for listener in select.select(listeners, [], [], 0.05)[0]:
                    accepted, _ = listener.accept()
                    vip, name = services[listener.getsockname()[1]]
                    with accepted, contextlib.suppress(OSError):
                        flow = peer(accepted)
                        assert flow.source == CLIENT
                        assert flow.target == target_hash(name, 80)
                        assert flow.original == packed(vip)
                        told += 1
            for caller in callers:
                assert caller.wait() == 0
        assert counts[Counter.CONNECT_SERVICE] == 2000
        assert told > 0
        assert Counter.PENDING_LOST not in counts


def ready(listeners: list[socket.socket]) -> bool:
    return bool(select.select(listeners, [], [], 0)[0])


#: struct pending of maps.h up to its check word, and what comes before it in a slot.
MADE = struct.Struct("=QQ16s16s2s2sHHQ")
CLAIMS, TAKEN = bytes(8), bytes(8)
MULTIPLIER = 0x9E3779B97F4A7C15
SO_COOKIE = 57
TCP_FASTOPEN_CONNECT = 30


@dataclass(frozen=True)
class Slot:
    """struct pending of maps.h, written by the test in the connect hook's stead."""

    cookie: int
    destination: tuple[str, int]
    torn: bool = False

    def pack(self) -> bytes:
        address, port = self.destination
        words = MADE.pack(
            *(self.cookie, 0xBAD, packed(VIP), packed(address)),
            *((80).to_bytes(2, "big"), port.to_bytes(2, "big"), 0, 0, 0xD057),
        )
        check = 0
        for (word,) in struct.iter_unpack("=Q", words):
            check = (check ^ word) * MULTIPLIER % (1 << 64)
        return CLAIMS + TAKEN + words + struct.pack("=Q", check ^ self.torn)


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, True),
        ({"torn": True}, False),
        ({"cookie": 1}, False),
        ({"destination": ("10.99.0.77", 8080)}, False),
        ({"destination": ("10.99.0.2", 8081)}, False),
    ],
)
def test_a_slot_is_taken_only_if_it_is_whole_and_of_this_connect(
    mesh: Engine, client: Netns, server: Netns, change: dict[str, Any], taken: bool
) -> None:
    """One that isn't taken leaves a flow that says who, not what for."""
    mesh.enroll(client)
    here = (server.v4, 8080)
    with server.listen(*here), waiting(mesh, client, here) as (s, slots):
        cookie = struct.unpack("=Q", s.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]
        slot = replace(Slot(cookie, here), **change)
        key = struct.pack("=I", cookie % SMALL.pending)
        update(slots, key, slot.pack(), "pending")
        with mesh.counts() as counts:
            s.sendall(b"x")
        flow = mesh.flow(s, here)
    assert flow is not None
    assert flow.source == CLIENT
    if taken:
        assert (flow.target, flow.destination, flow.original_port) == (0xBAD, 0xD057, 80)
    else:
        assert (flow.target, flow.destination, flow.flags) == (0, 0, 0)
        assert (flow.original, flow.original_port) == (packed(server.v4), 8080)
    assert counts == ({} if taken else {Counter.PENDING_LOST: 1})


@contextlib.contextmanager
def waiting(
    mesh: Engine, client: Netns, where: tuple[str, int]
) -> Iterator[tuple[socket.socket, int]]:
    """A connected socket whose SYN is still to leave, and the open map of slots.

    With Fast Open the SYN waits for data: time enough to overwrite the slot.
    """
    client.sysctl("net/ipv4/tcp_fastopen", "5")  # client; needs no cookie
    try:
        with (
            client.open_socket() as s,
            pinned(mesh.place.pin_dir / "maps" / "pending") as slots,
        ):
            s.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
            s.connect(where)
            yield s, slots
    finally:
        client.sysctl("net/ipv4/tcp_fastopen", "1")


def test_a_waypoints_answer_outlives_its_client(
    mesh: Engine, client: Netns, waypoint: Netns, family: int
) -> None:
    vip = VIP if family == socket.AF_INET else "fd00:96::1"
    mesh.enroll(client)
    mesh.vip(vip, waypoint=WAYPOINT)
    mesh.port(80, [])
    mesh.port(0, [(waypoint.address(family), 15088)], WAYPOINT)
    with waypoint.listen(waypoint.address(family), 15088) as listener:
        with client.open_socket(family) as s:
            s.connect((vip, 80))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        assert flows(mesh) == 0
        accepted, _ = listener.accept()
        with accepted:
            told = peer(accepted)
    assert told.target == target_hash(SERVICE, 80)
    assert told.flags == FlowFlag.WAYPOINT | FlowFlag.SERVICE
