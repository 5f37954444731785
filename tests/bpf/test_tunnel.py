"""tunnel.h: what goes to other nodes is led to the daemon, and what it makes arrives."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpf.layout import (
    ActiveKey,
    AddressFlag,
    ChunkFlag,
    Counter,
    EventClass,
    Flow,
    FlowFlag,
    FlowKey,
    Guard,
    GuardFlag,
    Mark,
    Peer,
    Pod,
    TunnelPort,
)
from bpf.links import attach_host, detach_host
from tests.bpf.engine import (
    CLIENT,
    SERVER,
    SERVICE,
    WAYPOINT,
    Engine,
    eventually,
    join,
    packed,
    peer,
    removed,
)
from tests.bpf.policies import chunk, guard, refuse, satisfies
from tests.support.netns import Netns
from ztunnel_compat.names import target_hash

V4, V6 = socket.AF_INET, socket.AF_INET6
#: Nobody is there: what isn't led to the daemon doesn't arrive.
FAR: dict[int, str] = {V4: "10.99.0.77", V6: "fd99::77"}
VIPS: dict[int, str] = {V4: "10.96.1.1", V6: "fd00:96::1"}
LOOPBACK: dict[int, str] = {V4: "127.0.0.1", V6: "::1"}
OUTBOUND, HBONE = TunnelPort.OUTBOUND, TunnelPort.HBONE
TUNNEL = AddressFlag.TUNNEL
WHO, PORT, IDENTITY_PORT = 0x1DE47, 8080, 15088
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@pytest.fixture(params=["ipv4", "ipv6", "mapped"])
def how(request: pytest.FixtureRequest) -> str:
    """mapped: an IPv6 socket that calls an IPv4 address."""
    return str(request.param)


@pytest.fixture
def family(how: str) -> int:
    """Of the addresses that are called."""
    return V6 if how == "ipv6" else V4


@pytest.fixture
def far(mesh: Engine, client: Netns, family: int) -> tuple[str, int]:
    """An endpoint on another node, called by an enrolled client."""
    mesh.enroll(client)
    mesh.workload(FAR[family], flags=TUNNEL)
    return FAR[family], PORT


@pytest.fixture
def daemon(client: Netns, family: int) -> Iterator[socket.socket]:
    """Where the daemon listens in the client's namespace."""
    with client.listen(LOOPBACK[family], OUTBOUND) as listener:
        yield listener


def caller(client: Netns, how: str) -> socket.socket:
    return client.open_socket(V4 if how == "ipv4" else V6)


def name(how: str, address: str) -> str:
    """An address as a caller says and sees it."""
    return f"::ffff:{address}" if how == "mapped" else address


def told(
    client: Netns, daemon: socket.socket, how: str, called: tuple[str, int]
) -> tuple[Peer, tuple[str, int]]:
    """What the daemon is told of a call, and what the caller sees its peer is."""
    with caller(client, how) as s:
        s.connect((name(how, called[0]), called[1]))
        accepted, _ = daemon.accept()
        with accepted:
            s.sendall(b"x")
            assert accepted.recv(1) == b"x"
            return peer(accepted), s.getpeername()[:2]


def test_a_workload_on_another_node(
    client: Netns, daemon: socket.socket, how: str, far: tuple[str, int], mesh: Engine
) -> None:
    with mesh.counts() as counts:
        answer, seen = told(client, daemon, how, far)
    target = target_hash(SERVER, PORT)
    there = packed(far[0])
    assert answer == Peer(CLIENT, target, there, PORT, FlowFlag.TUNNEL, SERVER, there, PORT)
    assert seen == (name(how, far[0]), PORT)
    assert counts == {Counter.CONNECT_DIRECT: 1, Counter.CONNECT_TUNNEL: 1}
    eventually(lambda: not list(mesh.maps.flows.items()))


def test_a_services_endpoint_on_another_node(
    mesh: Engine,
    client: Netns,
    daemon: socket.socket,
    how: str,
    family: int,
    far: tuple[str, int],
) -> None:
    mesh.vip(VIPS[family])
    mesh.port(80, [far], workload=SERVER, flags=TUNNEL)
    answer, seen = told(client, daemon, how, (VIPS[family], 80))
    assert answer == Peer(
        *(CLIENT, target_hash(SERVICE, 80), packed(VIPS[family]), 80),
        *(FlowFlag.TUNNEL | FlowFlag.SERVICE, SERVER, packed(far[0]), PORT),
    )
    assert seen == (name(how, VIPS[family]), 80)


def test_a_waypoint_on_another_node(
    mesh: Engine,
    client: Netns,
    daemon: socket.socket,
    how: str,
    family: int,
    far: tuple[str, int],
) -> None:
    mesh.vip(VIPS[family], waypoint=WAYPOINT)
    mesh.port(80, [])
    mesh.port(0, [(far[0], HBONE)], WAYPOINT, workload=WAYPOINT, flags=TUNNEL)
    answer, _ = told(client, daemon, how, (VIPS[family], 80))
    flags = FlowFlag.TUNNEL | FlowFlag.SERVICE | FlowFlag.WAYPOINT
    assert answer == Peer(
        *(CLIENT, target_hash(SERVICE, 80), packed(VIPS[family]), 80, flags),
        *(WAYPOINT, packed(far[0]), HBONE),
    )


def test_an_address_that_a_service_passes_through(
    mesh: Engine,
    client: Netns,
    daemon: socket.socket,
    how: str,
    family: int,
    far: tuple[str, int],
) -> None:
    """The service's own address is the workload's, to the namespace that sees it."""
    mesh.maps.pods.put(client.cookie, Pod(CLIENT, namespace=7, flags=1))
    mesh.vip(far[0], flags=AddressFlag.PASSTHROUGH, namespace=7)
    answer, _ = told(client, daemon, how, far)
    assert answer.flags == FlowFlag.TUNNEL | FlowFlag.SERVICE
    assert (answer.destination, answer.far) == (SERVER, packed(far[0]))


@pytest.mark.parametrize("binding", ["address", "device", "both"])
def test_a_socket_that_is_bound(
    client: Netns,
    daemon: socket.socket,
    how: str,
    family: int,
    far: tuple[str, int],
    binding: str,
) -> None:
    with caller(client, how) as s:
        if binding != "address":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        if binding != "device":
            s.bind((name(how, client.address(family)), 0))
        s.settimeout(0.9)  # a SYN without an answer is sent again after 1 s
        s.connect((name(how, far[0]), far[1]))
        accepted, _ = daemon.accept()
        with accepted:
            assert peer(accepted).flags == FlowFlag.TUNNEL


def test_without_the_daemon_it_is_refused(
    client: Netns, how: str, far: tuple[str, int]
) -> None:
    with caller(client, how) as s:
        assert s.connect_ex((name(how, far[0]), far[1])) == errno.ECONNREFUSED


def test_the_answer_outlives_the_caller(
    mesh: Engine, client: Netns, daemon: socket.socket, how: str, far: tuple[str, int]
) -> None:
    with caller(client, how) as s:
        s.connect((name(how, far[0]), far[1]))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    assert list(mesh.maps.flows.items()) == []
    accepted, _ = daemon.accept()
    with accepted:
        assert peer(accepted).flags == FlowFlag.TUNNEL


def test_datagrams_are_not_led_to_the_daemon(
    mesh: Engine, client: Netns, server: Netns, how: str, family: int
) -> None:
    mesh.enroll(client)
    mesh.workload(server.address(family), flags=TUNNEL)
    with (
        server.open_socket(family, socket.SOCK_DGRAM) as served,
        client.open_socket(V4 if how == "ipv4" else V6, socket.SOCK_DGRAM) as s,
    ):
        served.bind((server.address(family), PORT))
        s.connect((name(how, server.address(family)), PORT))
        s.send(b"x")
        assert served.recv(1) == b"x"


def test_a_pod_reaches_itself(mesh: Engine, client: Netns, family: int) -> None:
    mesh.enroll(client)
    mesh.workload(client.address(family), CLIENT, flags=TUNNEL)
    here = (client.address(family), PORT)
    with client.listen(*here) as listener, client.open_socket(family) as s:
        s.connect(here)
        listener.accept()[0].close()


def test_who_calls_the_daemons_port_itself_is_not_of_a_tunnel(
    mesh: Engine, client: Netns, daemon: socket.socket, family: int
) -> None:
    """So the daemon refuses it: enrolled or not, it names no endpoint."""
    with client.open_socket(family) as s:
        s.connect((LOOPBACK[family], OUTBOUND))
        accepted, _ = daemon.accept()
        with accepted, pytest.raises(OSError, match="not available"):
            peer(accepted)
    mesh.enroll(client)
    with client.open_socket(family) as s:
        s.connect((LOOPBACK[family], OUTBOUND))
        accepted, _ = daemon.accept()
        with accepted:
            assert not peer(accepted).flags & FlowFlag.TUNNEL


def test_least_connections_are_counted_where_they_lead(
    mesh: Engine, client: Netns, daemon: socket.socket, family: int, far: tuple[str, int]
) -> None:
    mesh.vip(VIPS[family], flags=AddressFlag.LEAST_CONNECTIONS)
    mesh.port(80, [far], workload=SERVER, flags=TUNNEL)
    with client.open_socket(family) as s:
        s.connect((VIPS[family], 80))
        assert dict(mesh.active.items()) == {ActiveKey(packed(far[0]), PORT): 1}
    eventually(lambda: not list(mesh.active.items()))


MEMBER = 0x3E3BE4


@contextlib.contextmanager
def enrolled(mesh: Engine) -> Iterator[Path]:
    """A cgroup that is a member of the mesh; its processes share a namespace."""
    unit = mesh.place.cgroup / "unit"
    unit.mkdir()
    mesh.maps.members.put(unit.stat().st_ino, Pod(MEMBER, identity=WHO))
    mesh.maps.member_levels.put(0, 0xFFFFFFFF)
    try:
        yield unit
    finally:
        eventually(lambda: removed(unit))


@contextlib.contextmanager
def within(mesh: Engine, unit: Path) -> Iterator[None]:
    """This process is of a cgroup."""
    join(unit)
    try:
        yield
    finally:
        join(mesh.place.cgroup)


def test_a_member_is_led_to_the_daemon(
    mesh: Engine, client: Netns, daemon: socket.socket, how: str, family: int
) -> None:
    mesh.workload(FAR[family], flags=TUNNEL)
    there = packed(FAR[family])
    with enrolled(mesh) as unit, within(mesh, unit):
        answer, seen = told(client, daemon, how, (FAR[family], PORT))
        target = target_hash(SERVER, PORT)
        assert answer == Peer(MEMBER, target, there, PORT, FlowFlag.TUNNEL, SERVER, there, PORT)
        assert seen == (name(how, FAR[family]), PORT)
        eventually(lambda: not list(mesh.maps.flows.items()))


def test_without_the_daemon_a_member_is_refused(
    mesh: Engine, client: Netns, server: Netns, how: str, family: int
) -> None:
    """Though somebody listens at the other end."""
    there = (server.address(family), PORT)
    mesh.workload(there[0], flags=TUNNEL)
    with (
        server.listen(*there),
        enrolled(mesh) as unit,
        within(mesh, unit),
        caller(client, how) as s,
    ):
        assert s.connect_ex((name(how, there[0]), PORT)) == errno.ECONNREFUSED


def test_what_the_daemon_marked_goes_where_it_wants(
    mesh: Engine, client: Netns, server: Netns, how: str, family: int
) -> None:
    mesh.enroll(client)
    mesh.workload(server.address(family), flags=TUNNEL)
    there = (server.address(family), HBONE)
    with (
        server.listen(*there) as listener,
        caller(client, how) as s,
        mesh.counts() as counts,
    ):
        mesh.maps.marks.set(s.fileno(), Mark())
        s.connect((name(how, there[0]), there[1]))
        accepted, seen = listener.accept()
        with accepted:
            assert seen[0] == client.address(family)
            assert list(mesh.maps.flows.items()) == []
            with pytest.raises(OSError, match="not available"):
                peer(accepted)
        assert s.getpeername()[:2] == (name(how, there[0]), there[1])
    assert counts == {}


REMOTE: dict[int, tuple[str, int]] = {V4: ("192.0.2.7", 41000), V6: ("2001:db8::7", 41000)}


def mark_of(family: int) -> Mark:
    """What the daemon says of a connection for a client at REMOTE."""
    address, port = REMOTE[family]
    return Mark(
        source=0x50E,
        target=target_hash(SERVICE, 80),
        original=packed(VIPS[family]),
        original_port=80,
        flags=FlowFlag.TUNNELLED | FlowFlag.SERVICE,
        destination=SERVER,
        far=packed(address),
        far_port=port,
        identity=WHO,
    )


@contextlib.contextmanager
def delivered(
    mesh: Engine, server: Netns, family: int, port: int = PORT
) -> Iterator[socket.socket]:
    """The daemon's socket, connected to the server from within its namespace."""
    with server.open_socket(family) as s:
        mesh.maps.marks.set(s.fileno(), mark_of(family))
        s.connect((server.address(family), port))
        yield s


@pytest.fixture
def pod(mesh: Engine, server: Netns) -> Netns:
    """An enrolled server whose policies deny everybody."""
    mesh.enroll(server, SERVER)
    guard(mesh, server, chunk(deny=(0,)))
    return server


def test_what_the_daemon_let_in_arrives(mesh: Engine, pod: Netns, family: int) -> None:
    here = (pod.address(family), PORT)
    mark = mark_of(family)
    with pod.listen(*here) as listener, delivered(mesh, pod, family) as s:
        accepted, seen = listener.accept()
        with accepted:
            assert seen[:2] == REMOTE[family]
            assert accepted.getpeername()[:2] == REMOTE[family]
            assert peer(accepted) == Peer.unpack(mark.pack()[: Peer.SIZE])
            [(key, flow)] = mesh.maps.flows.items()
            assert (flow.identity, flow.netns, key.netns) == (WHO, pod.cookie, 0)
            assert s.getpeername()[:2] == here
            s.close()
            eventually(lambda: not list(mesh.maps.flows.items()))
            assert accepted.getpeername()[:2] == REMOTE[family]
            assert peer(accepted).flags & FlowFlag.TUNNELLED


def test_what_the_daemon_let_in_arrives_at_a_member(
    mesh: Engine, server: Netns, family: int
) -> None:
    """In a namespace of nobody's, at a port whose guard refuses everybody."""
    here = (server.address(family), PORT)
    mesh.maps.member_guards.put(MEMBER, Guard(MEMBER, flags=GuardFlag.REFUSE))
    attach_host(mesh.place.pin_dir, server.fd)
    try:
        with enrolled(mesh) as unit:
            with within(mesh, unit):
                listener = server.listen(*here)
            with listener, server.open_socket(family) as plain:
                assert plain.connect_ex(here) == errno.ECONNREFUSED
                with delivered(mesh, server, family) as s:
                    accepted, seen = listener.accept()
                    with accepted:
                        assert seen[:2] == REMOTE[family]
                        assert peer(accepted).far == packed(REMOTE[family][0])
                        [(_key, flow)] = mesh.maps.flows.items()
                        assert (flow.identity, flow.netns) == (WHO, server.cookie)
                        s.close()
                        eventually(lambda: not list(mesh.maps.flows.items()))
                with server.open_socket(family) as s:
                    mesh.maps.marks.set(s.fileno(), Mark(identity=WHO))
                    assert s.connect_ex(here) == errno.ECONNREFUSED
    finally:
        detach_host(mesh.place.pin_dir)


def test_a_listener_for_both_families_sees_a_mapped_client(mesh: Engine, pod: Netns) -> None:
    with pod.listen("::", PORT) as listener, delivered(mesh, pod, V4):
        accepted, seen = listener.accept()
        with accepted:
            assert seen[:2] == (f"::ffff:{REMOTE[V4][0]}", REMOTE[V4][1])


def test_a_client_of_the_other_family_is_not_shown(mesh: Engine, pod: Netns) -> None:
    """IPv4's socket has no room for it; the peer query does."""
    with pod.listen(pod.v4, PORT) as listener, pod.open_socket(V4) as s:
        mesh.maps.marks.set(s.fileno(), mark_of(V6))
        s.connect((pod.v4, PORT))
        accepted, seen = listener.accept()
        with accepted:
            assert seen == s.getsockname()
            assert peer(accepted).far == packed(REMOTE[V6][0])


def test_what_the_daemon_let_in_reaches_the_identity_port(
    mesh: Engine, pod: Netns, family: int
) -> None:
    guard(mesh, pod, chunk(deny=(0,)), identity_port=IDENTITY_PORT)
    with (
        pod.listen(pod.address(family), IDENTITY_PORT) as listener,
        delivered(mesh, pod, family, IDENTITY_PORT),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert peer(accepted).flags & FlowFlag.TUNNELLED


@pytest.mark.parametrize("flags", [0, FlowFlag.SERVICE])
def test_another_mark_proves_nothing(mesh: Engine, pod: Netns, family: int, flags: int) -> None:
    here = (pod.address(family), PORT)
    with pod.listen(*here), pod.open_socket(family) as s:
        mesh.maps.marks.set(s.fileno(), Mark(flags=flags, identity=WHO))
        assert s.connect_ex(here) == errno.ECONNREFUSED
        assert list(mesh.maps.flows.items()) == []


def test_what_a_mark_may_not_say(mesh: Engine, pod: Netns, family: int) -> None:
    """Nothing that other hooks would act upon."""
    with pod.listen(pod.address(family), PORT), pod.open_socket(family) as s:
        mesh.maps.marks.set(s.fileno(), Mark(flags=0xFFFF))
        s.connect((pod.address(family), PORT))
        [(_key, flow)] = mesh.maps.flows.items()
    assert flow.flags == FlowFlag.TUNNELLED | FlowFlag.SERVICE | FlowFlag.WAYPOINT


@pytest.mark.parametrize("policies", ["missing", "refusing", "denying"])
def test_hbone_arrives_at_any_enrolled_pod(
    mesh: Engine, client: Netns, pod: Netns, family: int, policies: str
) -> None:
    """From whom no policy lets in: the daemon sees the certificate first."""
    if policies == "missing":
        for key, _ in list(mesh.maps.guards.items()):
            mesh.maps.guards.delete(key)
    elif policies == "refusing":
        refuse(mesh, pod)
    address = pod.address(family)
    with pod.listen(address, HBONE), client.open_socket(family) as s:
        s.connect((address, HBONE))
    with pod.listen(address, PORT), client.open_socket(family) as s:
        assert s.connect_ex((address, PORT)) == errno.ECONNREFUSED


def test_strict_lets_in_who_is_proven(
    mesh: Engine, client: Netns, waypoint: Netns, pod: Netns, family: int
) -> None:
    """STRICT is a DENY of who has no identity: so comes a plain SYN of another node."""
    guard(mesh, pod, chunk(deny=(0,), flags=ChunkFlag.IDENTITIES))
    satisfies(mesh, 0, 0)
    satisfies(mesh, WHO)
    mesh.enroll(client)
    mesh.maps.pods.put(client.cookie, Pod(CLIENT, identity=WHO))
    here = (pod.address(family), PORT)
    with pod.listen(*here) as listener:
        with waypoint.open_socket(family) as s:
            assert s.connect_ex(here) == errno.ECONNREFUSED
        with client.open_socket(family) as s:
            s.connect(here)
            listener.accept()[0].close()
        with delivered(mesh, pod, family):
            listener.accept()[0].close()


def test_tunnels_are_not_the_kernels_to_report(
    mesh: Engine,
    client: Netns,
    daemon: socket.socket,
    family: int,
    far: tuple[str, int],
    pod: Netns,
) -> None:
    for kind in (EventClass.CLOSED, EventClass.FAILED, EventClass.DENIED):
        mesh.maps.limits.allow(kind, 1000)
    mesh.enroll(pod, SERVER)
    address = pod.address(family)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(pod.listen(address, PORT))
        hbone = stack.enter_context(pod.listen(address, HBONE))
        told(client, daemon, "ipv6" if family == V6 else "ipv4", far)
        with delivered(mesh, pod, family) as s:
            accepted, _ = listener.accept()
            s.close()
            assert accepted.recv(1) == b""
            accepted.close()
        with client.open_socket(family) as outer:
            mesh.maps.marks.set(outer.fileno(), Mark())
            outer.connect((address, HBONE))
            accepted, _ = hbone.accept()
            outer.close()
            assert accepted.recv(1) == b""
            accepted.close()
    eventually(lambda: not list(mesh.maps.flows.items()))
    for kind in (EventClass.CLOSED, EventClass.FAILED, EventClass.DENIED):
        mesh.maps.limits.allow(kind, 0)
    assert list(mesh.maps.events.read(1024)) == []
    assert list(mesh.maps.traffic.items()) == []


#: So many calls of two endpoints, each closed by the caller or by the daemon first.
STORM = """
import socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
places, calls, slowest = [(a, 8080) for a in sys.argv[1:3]], int(sys.argv[3]), 0.0
for number in range(calls):
    with socket.socket(family) as s:
        began = time.monotonic()
        s.connect(places[number % 2])
        slowest = max(slowest, time.monotonic() - began)
        if number // 2 % 2:
            s.sendall(b"x")  # the daemon closes at once
        else:
            s.shutdown(socket.SHUT_WR)
        assert s.recv(1) == b""
print(slowest)
"""
#: The daemon's end of that.
ANSWER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], 15001), family=family, backlog=4096)
print("up", flush=True)
while True:
    s, _ = listener.accept()
    s.recv(1)
    s.close()
"""


@pytest.mark.parametrize("how", ["ipv4", "ipv6"])
@pytest.mark.parametrize("calls", [12000, pytest.param(60000, marks=pytest.mark.soak)])
def test_many_short_calls_of_two_endpoints(
    mesh: Engine, client: Netns, family: int, calls: int
) -> None:
    """All go to one local port, whose TIME_WAITs must neither delay nor refuse a SYN.

    Each of 6,000 ports is taken several times: of the caller's end in TIME_WAIT (for a
    second), or of the daemon's.
    """
    mesh.enroll(client)
    two = [FAR[family], "fd99::78" if family == V6 else "10.99.0.78"]
    for address in two:
        mesh.workload(address, flags=TUNNEL)
    client.sysctl("net/ipv4/tcp_tw_reuse", "1")
    client.sysctl("net/ipv4/ip_local_port_range", "33000 38999")
    with client.popen(["/usr/bin/python3", "-c", ANSWER, LOOPBACK[family]]) as daemon:
        assert daemon.stdout is not None
        daemon.stdout.readline()
        try:
            slowest = float(
                client.run(["/usr/bin/python3", "-c", STORM, *two, str(calls)], timeout=300)
            )
        finally:
            daemon.kill()
            client.sysctl("net/ipv4/ip_local_port_range", "32768 60999")
            client.sysctl("net/ipv4/tcp_tw_reuse", "2")
    assert slowest < 0.9  # a SYN without an answer is sent again after 1 s


def test_another_pods_flow_is_not_displaced(
    mesh: Engine, client: Netns, server: Netns, waypoint: Netns, family: int
) -> None:
    """Whoever comes by the tuple of a pod that is here has no flow, and ends none."""
    mesh.enroll(client)
    mesh.enroll(waypoint, WAYPOINT)
    there = (server.address(family), PORT)
    with server.listen(*there) as listener:
        for owner, displaced in ((waypoint.cookie, False), (client.cookie, True), (7, True)):
            with client.open_socket(family) as s, mesh.counts() as counts:
                s.bind((client.address(family), 0))
                key = FlowKey(packed(client.address(family)), packed(there[0]),
                              s.getsockname()[1], PORT)  # fmt: skip
                mesh.maps.flows.put(key, Flow(source=0xBAD, netns=owner))
                s.connect(there)
                flow = mesh.maps.flows.get(key)
                assert flow is not None
                assert (flow.source == CLIENT) == displaced
                listener.accept()[0].close()
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            assert counts.get(Counter.FLOW_IN_THE_WAY, 0) == (not displaced)
            left = mesh.maps.flows.get(key)
            assert (left is None) == displaced
            mesh.maps.flows.delete(key)


def test_only_a_flows_own_socket_ends_it(
    mesh: Engine, client: Netns, server: Netns, family: int
) -> None:
    mesh.enroll(client)
    there = (server.address(family), PORT)
    others = Flow(source=0xBAD, netns=7)
    with server.listen(*there), client.open_socket(family) as s:
        s.connect(there)
        [(key, _mine)] = mesh.maps.flows.items()
        mesh.maps.flows.put(key, others)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    assert mesh.maps.flows.get(key) == others
    assert all(not sums.closed for _, sums in mesh.maps.traffic.items())
