"""Accounting: every byte and connection, exactly, at both ends of the mesh."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from bpf.knobs import Knobs
from bpf.layout import (
    Counter,
    Event,
    EventClass,
    EventKind,
    EventReason,
    FlowFlag,
    Guard,
    GuardFlag,
    LocalAddress,
    Traffic,
    TrafficKey,
    Verdict,
)
from tests.bpf.engine import (
    CLIENT,
    SERVER,
    SERVICE,
    WAYPOINT,
    Engine,
    engine,
    eventually,
    packed,
)
from tests.support.netns import Netns
from ztunnel_compat.names import target_hash

VIP = "10.96.1.1"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
TARGET = target_hash(SERVER, 8080)
DIRECT = TrafficKey(CLIENT, TARGET, SERVER)
VISIT = TrafficKey(0, TARGET, SERVER)


@pytest.fixture
def mesh(mesh: Engine) -> Iterator[Engine]:
    for kind in (EventClass.CLOSED, EventClass.FAILED, EventClass.DENIED):
        mesh.maps.limits.allow(kind, 1000)
    yield mesh
    for kind in (EventClass.CLOSED, EventClass.FAILED, EventClass.DENIED):
        mesh.maps.limits.allow(kind, 0)


@pytest.fixture(params=["direct", "visit", "parted"])
def key(
    request: pytest.FixtureRequest, mesh: Engine, client: Netns, server: Netns
) -> TrafficKey:
    """A client of this node, and one that isn't enrolled, or no more."""
    mesh.enroll(server, SERVER)
    mesh.workload(server.v4)
    mesh.workload(server.v6)
    if request.param == "direct":
        mesh.enroll(client)
        return DIRECT
    if request.param == "parted":
        for address in (client.v4, client.v6):
            mesh.maps.guards.put(
                LocalAddress(packed(address)), Guard(CLIENT, flags=GuardFlag.PARTED)
            )
    return VISIT


def sums(mesh: Engine, key: TrafficKey) -> Traffic:
    return dict(mesh.maps.traffic.items()).get(key, Traffic())


def closed(mesh: Engine, key: TrafficKey, count: int = 1) -> Traffic:
    """What is accounted once so many connections are closed."""
    eventually(lambda: sums(mesh, key).closed == count)
    return sums(mesh, key)


def events(mesh: Engine) -> list[Event]:
    return [Event.unpack(record) for record in mesh.maps.events.read(1024)]


def exchange(
    client: Netns,
    server: Netns,
    address: str,
    client_side: Callable[[socket.socket], None],
    server_side: Callable[[socket.socket], None],
) -> None:
    """One connection, each end in its own thread; both are closed by their sides."""
    with server.listen(address, 8080) as listener:

        def serve() -> None:
            accepted, _ = listener.accept()
            with accepted:
                server_side(accepted)

        thread = threading.Thread(target=serve)
        thread.start()
        with client.open_socket(listener.family) as s:
            s.connect((address, 8080))
            client_side(s)
        thread.join()


def drain(s: socket.socket) -> int:
    got = 0
    while chunk := s.recv(65536):
        got += len(chunk)
    return got


def receive(s: socket.socket, count: int) -> None:
    while count:
        count -= len(s.recv(min(count, 65536)))


def client_closes_first(s: socket.socket) -> None:
    s.sendall(bytes(1000))
    receive(s, 70000)


def answers_until_the_end(s: socket.socket) -> None:
    receive(s, 1000)
    s.sendall(bytes(70000))
    assert drain(s) == 0


def reads_until_the_end(s: socket.socket) -> None:
    s.sendall(bytes(1000))
    assert drain(s) == 70000


def answers_and_closes(s: socket.socket) -> None:
    receive(s, 1000)
    s.sendall(bytes(70000))


def half_closes(s: socket.socket) -> None:
    s.sendall(bytes(1000))
    s.shutdown(socket.SHUT_WR)
    assert drain(s) == 70000


def answers_to_the_half_closed(s: socket.socket) -> None:
    assert drain(s) == 1000
    s.sendall(bytes(70000))


def server_half_closes(s: socket.socket) -> None:
    s.sendall(bytes(70000))
    s.shutdown(socket.SHUT_WR)
    assert drain(s) == 1000


def sends_after_the_half_close(s: socket.socket) -> None:
    assert drain(s) == 70000
    s.sendall(bytes(1000))


def resets(s: socket.socket) -> None:
    client_closes_first(s)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


def suffers_a_reset(s: socket.socket) -> None:
    receive(s, 1000)
    s.sendall(bytes(70000))
    with pytest.raises(ConnectionResetError):
        s.recv(1)


ENDINGS = {
    "client closes first": (client_closes_first, answers_until_the_end),
    "server closes first": (reads_until_the_end, answers_and_closes),
    "client half-closes": (half_closes, answers_to_the_half_closed),
    "server half-closes": (sends_after_the_half_close, server_half_closes),
    "client resets": (resets, suffers_a_reset),
}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("ending", list(ENDINGS))
def test_bytes_are_exact_however_a_connection_ends(
    mesh: Engine, client: Netns, server: Netns, key: TrafficKey, ending: str, family: int
) -> None:
    for _ in range(3):
        exchange(client, server, server.address(family), *ENDINGS[ending])
    told = closed(mesh, key, 3)
    assert (told.opened, told.closed, told.failed) == (3, 3, 0)
    assert (told.sent, told.received) == (3000, 210000)
    assert [(e.kind, e.sent, e.received) for e in events(mesh)] == [
        (EventKind.CLOSED, 1000, 70000)
    ] * 3


def test_nothing_sent_is_nothing(
    mesh: Engine, client: Netns, server: Netns, key: TrafficKey
) -> None:
    exchange(client, server, server.v4, lambda _: None, assert_end)
    told = closed(mesh, key)
    assert (told.sent, told.received) == (0, 0)


def assert_end(s: socket.socket) -> None:
    assert s.recv(1) == b""


def test_a_connection_counts_as_opened_from_its_first_moment(
    mesh: Engine, client: Netns, server: Netns, key: TrafficKey
) -> None:
    with server.listen(server.v4, 8080) as listener, client.open_socket() as s:
        s.connect((server.v4, 8080))
        accepted, _ = listener.accept()
        with accepted:
            told = sums(mesh, key)
            assert (told.opened, told.closed, told.sent) == (1, 0, 0)
            assert events(mesh) == []


def test_an_event_tells_all_of_a_connection(mesh: Engine, client: Netns, server: Netns) -> None:
    mesh.enroll(client)
    mesh.enroll(server, SERVER)
    mesh.workload(server.v4)
    mesh.vip(VIP)
    mesh.port(80, [(server.v4, 8080)])
    with server.listen(server.v4, 8080) as listener, client.open_socket() as s:
        s.connect((VIP, 80))
        own = s.getsockname()
        accepted, _ = listener.accept()
        accepted.close()
        assert s.recv(1) == b""
    eventually(lambda: len(list(mesh.maps.flows.items())) == 0)
    [event] = events(mesh)
    assert (event.kind, event.reason) == (EventKind.CLOSED, EventReason.NONE)
    assert (event.source, event.target) == (CLIENT, target_hash(SERVICE, 80))
    assert (event.source_address, event.source_port) == (packed(own[0]), own[1])
    assert (event.destination_address, event.destination_port) == (packed(server.v4), 8080)
    assert (event.original, event.original_port) == (packed(VIP), 80)
    assert event.flags == FlowFlag.SERVICE
    assert event.started < event.established < event.ended
    assert event.round_trip > 0


def test_latency_and_round_trips_are_summed(
    mesh: Engine, client: Netns, server: Netns, key: TrafficKey
) -> None:
    exchange(client, server, server.v4, *ENDINGS["server closes first"])
    told = closed(mesh, key)
    assert (told.latency > 0) == (key == DIRECT)  # a visit's SYN came from elsewhere
    assert told.round_trip > 0
    assert told.retransmits == 0


def test_a_refused_connect_is_a_failure_with_its_reason(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    mesh.enroll(client)
    mesh.workload(server.v4)
    with client.open_socket() as s, pytest.raises(ConnectionRefusedError):
        s.connect((server.v4, 8080))
    told = sums(mesh, DIRECT)
    assert (told.opened, told.closed, told.failed) == (0, 0, 1)
    [event] = events(mesh)
    assert (event.kind, event.reason) == (EventKind.FAILED, EventReason.RESET)
    assert (event.established, event.sent) == (0, 0)


def test_an_abandoned_connect_is_a_failure(mesh: Engine, client: Netns) -> None:
    mesh.enroll(client)
    mesh.workload("10.99.0.77")  # nobody answers for it
    with client.open_socket() as s:
        s.setblocking(False)
        assert s.connect_ex(("10.99.0.77", 8080)) == errno.EINPROGRESS
        assert sums(mesh, DIRECT) == Traffic()
    eventually(lambda: sums(mesh, DIRECT).failed == 1)
    [event] = events(mesh)
    assert (event.kind, event.reason) == (EventKind.FAILED, EventReason.ABORTED)


def test_a_connect_that_nothing_answers_times_out(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    mesh.enroll(client)
    mesh.workload(server.v4)
    client.sysctl("net/ipv4/tcp_syn_retries", "1")
    drop = ["ip", "route", "add", "blackhole", f"{client.v4}/32", "table", "77"]
    server.run(drop)
    server.run(["ip", "rule", "add", "pref", "1", "to", client.v4, "lookup", "77"])
    try:
        with client.open_socket() as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1)
            with pytest.raises(TimeoutError):
                s.connect((server.v4, 8080))
    finally:
        server.run(["ip", "rule", "del", "pref", "1"])
        server.run(["ip", "route", "flush", "table", "77"])
        client.sysctl("net/ipv4/tcp_syn_retries", "6")
    told = sums(mesh, DIRECT)
    assert told.failed == 1
    [event] = events(mesh)
    assert (event.kind, event.reason) == (EventKind.FAILED, EventReason.TIMED_OUT)


@pytest.mark.parametrize(
    ("waypoint", "port", "reason"),
    [
        (0, 80, EventReason.NO_ENDPOINT),
        (0, 81, EventReason.NO_PORT),
        (WAYPOINT, 80, EventReason.NO_WAYPOINT),
    ],
)
def test_a_connect_that_a_hook_refuses_is_a_failure(
    mesh: Engine, client: Netns, waypoint: int, port: int, reason: EventReason
) -> None:
    mesh.enroll(client)
    mesh.vip(VIP, waypoint=waypoint)
    mesh.port(80, [])
    with client.open_socket() as s, pytest.raises(ConnectionRefusedError):
        s.connect((VIP, port))
    target = target_hash(SERVICE, port)
    flags = FlowFlag.SERVICE | (FlowFlag.WAYPOINT if waypoint else 0)
    assert dict(mesh.maps.traffic.items()) == {
        TrafficKey(CLIENT, target, 0, flags): Traffic(failed=1)
    }
    [event] = events(mesh)
    assert (event.kind, event.reason) == (EventKind.REFUSED, reason)
    assert (event.source, event.target, event.flags) == (CLIENT, target, flags)
    assert (event.original, event.original_port) == (packed(VIP), port)


@pytest.mark.parametrize("enrolled", [True, False])
def test_a_denial_is_the_destinations_and_knows_its_source(
    mesh: Engine, client: Netns, server: Netns, enrolled: bool
) -> None:
    """At an identity port, to which nobody was redirected."""
    mesh.enroll(server, SERVER)
    mesh.workload(server.v4, identity_port=15088)
    if enrolled:
        mesh.enroll(client)
    with (
        server.listen(server.v4, 15088),
        client.open_socket() as s,
        pytest.raises(ConnectionRefusedError),
    ):
        s.connect((server.v4, 15088))
    source, target = (CLIENT, target_hash(SERVER, 15088)) if enrolled else (0, 0)
    told = sums(mesh, TrafficKey(source, target, SERVER))
    assert (told.denied, told.failed, told.opened) == (1, int(enrolled), 0)
    [event, *failed] = events(mesh)
    assert (event.kind, event.reason) == (EventKind.DENIED, Verdict.UNPROVEN)
    assert (event.source, event.destination) == (source, SERVER)
    assert (event.source_address, event.destination_address) == (
        packed(client.v4),
        packed(server.v4),
    )
    assert event.destination_port == 15088
    assert [e.kind for e in failed] == [EventKind.FAILED] * enrolled


def test_a_connection_out_of_the_mesh_has_its_source_alone(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    mesh.enroll(client)
    exchange(client, server, server.v4, *ENDINGS["server closes first"])
    told = closed(mesh, TrafficKey(CLIENT, 0, 0, FlowFlag.OUTSIDE))
    assert (told.sent, told.received) == (1000, 70000)


def test_loopback_is_a_pods_own_affair(mesh: Engine, client: Netns) -> None:
    mesh.enroll(client)
    exchange(client, client, "127.0.0.1", *ENDINGS["server closes first"])
    eventually(lambda: len(list(mesh.maps.flows.items())) == 0)
    assert list(mesh.maps.traffic.items()) == []
    assert events(mesh) == []


def test_a_client_of_this_node_is_accounted_once(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    """Also when its flow is gone: its address is an enrolled pod's."""
    mesh.enroll(server, SERVER)
    mesh.workload(server.v4)
    mesh.workload(client.v4, CLIENT)
    exchange(client, server, server.v4, *ENDINGS["server closes first"])
    assert list(mesh.maps.traffic.items()) == []


def test_sums_are_64_bit(mesh: Engine, client: Netns, server: Netns) -> None:
    mesh.enroll(client)
    mesh.enroll(server, SERVER)
    mesh.workload(server.v4)
    volume = (1 << 32) + 12345
    block = memoryview(bytes(1 << 22))

    def send(s: socket.socket) -> None:
        left = volume
        while left:
            left -= s.send(block[: min(left, len(block))])

    def sink(s: socket.socket) -> None:
        # Linux: with MSG_TRUNC, TCP drops what it would have copied.
        while s.recv_into(bytearray(1 << 22), 1 << 22, socket.MSG_TRUNC):
            pass

    exchange(client, server, server.v4, send, sink)
    assert closed(mesh, DIRECT).sent == volume


def test_a_full_map_sums_without_labels(client: Netns, server: Netns) -> None:
    sizes = Knobs(pods=8, addresses=8, ports=8, endpoints=64, flows=8, pending=8, traffic=2)
    with engine("sums", sizes) as mesh:
        mesh.maps.traffic.ensure(TrafficKey())
        mesh.enroll(client)
        mesh.workload(server.v4)
        with mesh.counts() as counts:
            for port in (8081, 8082, 8083):
                with client.open_socket() as s, pytest.raises(ConnectionRefusedError):
                    s.connect((server.v4, port))
        told = dict(mesh.maps.traffic.items())
    assert told[TrafficKey(CLIENT, target_hash(SERVER, 8081), SERVER)].failed == 1
    assert told[TrafficKey()].failed == 2
    assert counts[Counter.TRAFFIC_FULL] == 2
