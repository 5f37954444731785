"""The flow map as the authority on identity, against whoever forges, spoofs and reuses.

What must never happen: a connection that speaks for a pod that didn't make it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import random
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from bpf import elements, kernel
from bpf.codecs import codec
from bpf.errors import MapFullError
from bpf.flows import HEADER
from bpf.knobs import Knobs
from bpf.layout import ActiveKey, Counter, Flow, FlowFlag, FlowKey, Pod
from bpf.netns import in_netns
from bpf.tables import PinnedTable
from tests.bpf.engine import (
    CLIENT,
    SERVER,
    SERVICE,
    WAYPOINT,
    Engine,
    empty,
    engine,
    eventually,
    packed,
    peer,
)
from tests.bpf.raw import ACK, HOPS, SYN, End, Segment, forger, half_open, silenced
from tests.support.netns import Netns, netns, veth
from ztunnel_compat.names import target_hash

PORT, IDENTITY_PORT, OTHER = 8080, 15088, 0x07E4
VIPS: dict[int, str] = {socket.AF_INET: "10.96.1.1", socket.AF_INET6: "fd00:96::1"}
DIRECT: dict[int, str] = {socket.AF_INET: "10.96.1.2", socket.AF_INET6: "fd00:96::2"}
KEYS, VALUES = codec(FlowKey), codec(Flow)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
#: A kernel's own SYN never leaves; a forged one does.
UNANSWERED = (
    f"ip ttl != {HOPS} tcp flags & (syn | ack) == syn",
    f"ip6 hoplimit != {HOPS} tcp flags & (syn | ack) == syn",
)
#: Never the same twice: what a test leaves half open must not meet the next.
#: Below the range that the kernel takes ports from: nothing else is bound there.
numbers = itertools.count(20001)


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def here(client: Netns, family: int) -> End:
    """An end at the client's that no connection had yet."""
    return client.address(family), next(numbers)


@pytest.fixture
def there(mesh: Engine, server: Netns, family: int) -> End:
    """The server, a workload of the mesh, whose pod is guarded."""
    mesh.enroll(server, SERVER)
    mesh.workload(server.address(family))
    return server.address(family), PORT


@pytest.fixture
def gate(mesh: Engine, waypoint: Netns, family: int) -> End:
    """A waypoint's identity port, where only proven flows arrive."""
    mesh.enroll(waypoint, WAYPOINT, waypoint=WAYPOINT)
    mesh.workload(waypoint.address(family), WAYPOINT, identity_port=IDENTITY_PORT)
    mesh.vip(VIPS[family], waypoint=WAYPOINT)
    mesh.port(80, [])
    mesh.port(0, [(waypoint.address(family), IDENTITY_PORT)], WAYPOINT)
    return waypoint.address(family), IDENTITY_PORT


def source_of(accepted: socket.socket) -> int | None:
    """Whom the peer query names; None: nobody."""
    try:
        return peer(accepted).source
    except OSError as error:
        if error.errno not in {errno.ENOPROTOOPT, errno.EOPNOTSUPP}:  # MPTCP's word for it
            raise
        return None


def flows(mesh: Engine) -> int:
    return len(list(mesh.maps.flows.items()))


def nothing_arrives(listener: socket.socket) -> None:
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


@contextlib.contextmanager
def calling(pod: Netns, here: End, called: End) -> Iterator[socket.socket]:
    """A real connect() whose SYN never leaves: its flow is there all the same."""
    with silenced(pod, "unanswered", *UNANSWERED), bound(pod, here) as s:
        s.setblocking(False)
        assert s.connect_ex(called) == errno.EINPROGRESS
        yield s


def bound(pod: Netns, here: End) -> socket.socket:
    s = pod.open_socket(socket.AF_INET6 if ":" in here[0] else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(here)
    return s


@pytest.mark.parametrize("enrolled", [False, True])
def test_a_handshake_by_hand_has_no_identity(
    mesh: Engine, client: Netns, server: Netns, here: End, there: End, enrolled: bool
) -> None:
    if enrolled:
        mesh.enroll(client)
    with server.listen(*there) as listener, forger(client) as forging:
        assert forging.connect(here, there)
        with listener.accept()[0] as accepted:
            assert source_of(accepted) is None
    assert flows(mesh) == 0


@pytest.mark.parametrize("enrolled", [False, True])
def test_a_handshake_by_hand_does_not_arrive_where_proof_is_asked_for(
    mesh: Engine, client: Netns, waypoint: Netns, here: End, gate: End, enrolled: bool
) -> None:
    if enrolled:
        mesh.enroll(client)
    with waypoint.listen(*gate) as listener, forger(client) as forging:
        with mesh.counts() as counts:
            assert not forging.connect(here, gate)
        nothing_arrives(listener)
    assert counts == {Counter.REFUSED_UNPROVEN: 1}


def test_who_forges_on_a_flow_of_its_own_gets_its_own_identity(
    mesh: Engine, client: Netns, server: Netns, here: End, there: End
) -> None:
    mesh.enroll(client)
    with server.listen(*there) as listener, calling(client, here, there):
        assert flows(mesh) == 1
        with forger(client) as forging:
            assert forging.connect(here, there)
            with listener.accept()[0] as accepted:
                assert source_of(accepted) == CLIENT


def test_who_forges_on_a_flow_of_its_own_gets_its_own_target(
    mesh: Engine, client: Netns, waypoint: Netns, here: End, gate: End, family: int
) -> None:
    """As if it had called: to the waypoint, what for and by whom is the kernel's word."""
    mesh.enroll(client)
    with waypoint.listen(*gate) as listener:
        with calling(client, here, (VIPS[family], 80)), forger(client) as forging:
            assert forging.connect(here, gate)
            with listener.accept()[0] as accepted:
                told = peer(accepted)
        assert (told.source, told.target) == (CLIENT, target_hash(SERVICE, 80))
        # A direct call's flow is no proof of a redirect.
        again = (here[0], next(numbers))
        with calling(client, again, gate), forger(client) as forging:
            assert not forging.connect(again, gate)
        nothing_arrives(listener)


@pytest.fixture
def other(mesh: Engine, waypoint: Netns) -> Netns:
    """A third pod, enrolled, which forges."""
    mesh.enroll(waypoint, OTHER)
    return waypoint


def test_a_spoofed_address_has_no_identity(
    mesh: Engine, client: Netns, server: Netns, other: Netns, here: End, there: End
) -> None:
    """Its owner has no such connection, and resets what it is answered."""
    mesh.enroll(client)
    with (
        server.listen(*there) as listener,
        forger(other) as forging,
        forger(client, resets=True) as heard,
    ):
        spoofed = Segment(here, there, SYN, seq=1000)
        forging.send(spoofed)
        answer = heard.answer(spoofed)
        assert answer is not None
        assert answer.flags == SYN | ACK
        eventually(lambda: not half_open(server))
        nothing_arrives(listener)
    assert flows(mesh) == 0


def test_a_spoofed_address_does_not_arrive_where_proof_is_asked_for(
    mesh: Engine, client: Netns, server: Netns, waypoint: Netns, here: End, gate: End
) -> None:
    mesh.enroll(client)
    mesh.enroll(server, OTHER)
    with waypoint.listen(*gate) as listener, forger(server) as forging:
        before = mesh.maps.counters()[Counter.REFUSED_UNPROVEN]
        forging.send(Segment(here, gate, SYN))
        eventually(lambda: mesh.maps.counters()[Counter.REFUSED_UNPROVEN] > before)
        nothing_arrives(listener)


def test_a_spoofed_syn_of_an_open_connection_changes_nothing(
    mesh: Engine, client: Netns, server: Netns, other: Netns, here: End, there: End
) -> None:
    """It meets the connection, not the listener."""
    mesh.enroll(client)
    with server.listen(*there) as listener, bound(client, here) as s:
        s.connect(there)
        with listener.accept()[0] as accepted, forger(other) as forging:
            with forger(client, resets=True) as heard:
                spoofed = Segment(here, there, SYN, seq=1000)
                forging.send(spoofed)
                answer = heard.answer(spoofed)
            assert answer is not None
            assert answer.flags == ACK  # a challenge, to its owner
            s.sendall(b"x")
            assert accepted.recv(1) == b"x"
            assert source_of(accepted) == CLIENT
            nothing_arrives(listener)


def test_a_spoofed_syn_of_a_half_open_connection_is_not_accepted(
    mesh: Engine, client: Netns, server: Netns, other: Netns, here: End, there: End
) -> None:
    """Its flow would speak for it; but who is answered is its owner, who resets."""
    mesh.enroll(client)
    with (
        server.listen(*there) as listener,
        calling(client, here, there),
        forger(other) as forging,
        forger(client, resets=True) as heard,
    ):
        spoofed = Segment(here, there, SYN, seq=1000)
        forging.send(spoofed)
        answer = heard.answer(spoofed)
        assert answer is not None
        assert answer.flags == SYN | ACK
        assert forging.answer(spoofed, seconds=0.1) is None
        forging.send(Segment(here, there, ACK, 1001, 12345))
        eventually(lambda: not half_open(server))
        nothing_arrives(listener)


@pytest.mark.parametrize("closing", ["client", "server", "reset"])
def test_a_tuple_reused_after_close_has_no_identity(
    mesh: Engine, client: Netns, server: Netns, here: End, there: End, closing: str
) -> None:
    """Whichever end is in TIME_WAIT: nothing of the old connection speaks for it."""
    mesh.enroll(client)
    with server.listen(*there) as listener:
        s = bound(client, here)
        s.connect(there)
        accepted, _ = listener.accept()
        assert source_of(accepted) == CLIENT
        first, second = (accepted, s) if closing == "server" else (s, accepted)
        with forger(client, resets=True) as watching:
            if closing == "reset":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            first.close()
            with contextlib.suppress(ConnectionResetError):
                assert second.recv(1) == b""
            second.close()
            eventually(lambda: flows(mesh) == 0)
            last = watching.last_sent(here, there)
        with forger(client) as forging:
            # Above what a TIME_WAIT socket has seen, so that it gives way.
            assert forging.connect(here, there, (last.seq + 100) % (1 << 32))
            with listener.accept()[0] as forged:
                assert source_of(forged) is None


@pytest.mark.parametrize("closing", ["client", "server"])
def test_a_real_connection_over_a_tuple_in_time_wait_has_its_own_flow(
    mesh: Engine, client: Netns, server: Netns, here: End, there: End, closing: str
) -> None:
    mesh.enroll(client)
    client.sysctl("net/ipv4/tcp_tw_reuse", "1")
    with server.listen(*there) as listener:
        for workload in (CLIENT, OTHER):
            mesh.maps.pods.put(client.cookie, Pod(workload))
            with bound(client, here) as s:
                s.connect(there)
                accepted, _ = listener.accept()
                assert source_of(accepted) == workload
                first, second = (accepted, s) if closing == "server" else (s, accepted)
                first.close()
                assert second.recv(1) == b""
                second.close()
            eventually(lambda: flows(mesh) == 0)


def test_the_same_loopback_tuple_in_two_namespaces(mesh: Engine, client: Netns) -> None:
    """Each is its own pod's, and one of a pod that isn't enrolled is nobody's."""
    mesh.enroll(client)
    here, there = ("127.0.0.1", next(numbers)), ("127.0.0.1", PORT)
    with netns() as second, netns() as stranger, contextlib.ExitStack() as stack:
        mesh.enroll(second, OTHER)
        for place, source in ((client, CLIENT), (second, OTHER), (stranger, None)):
            listener = stack.enter_context(place.listen(*there))
            s = stack.enter_context(bound(place, here))
            s.connect(there)
            accepted = stack.enter_context(listener.accept()[0])
            assert source_of(accepted) == source
        assert flows(mesh) == 2


def test_the_same_link_local_tuple_on_two_links(mesh: Engine) -> None:
    """Every pod calls its gateway by the same address, and may take any to do it."""
    here, there = ("fe80::2", next(numbers)), ("fe80::1", PORT)
    with netns() as node, netns() as pod, netns() as stranger, contextlib.ExitStack() as stack:
        for number, one in enumerate((pod, stranger)):
            veth(one, "eth0", node, f"pod{number}")
            for end, device, address in ((one, "eth0", here), (node, f"pod{number}", there)):
                end.run(["ip", "link", "set", device, "up", "addrgenmode", "none"])
                end.run(["ip", "addr", "add", f"{address[0]}/64", "dev", device, "nodad"])
        mesh.enroll(pod)
        listener = stack.enter_context(node.listen("::", PORT))
        for one, source in ((pod, None), (stranger, None)):
            with in_netns(one.fd):
                scope = socket.if_nametoindex("eth0")
            s = stack.enter_context(one.open_socket(socket.AF_INET6))
            s.bind((*here, 0, scope))
            s.connect((*there, 0, scope))
            accepted = stack.enter_context(listener.accept()[0])
            assert source_of(accepted) == source
        assert flows(mesh) == 1


MPTCP, TCP = 262, socket.IPPROTO_TCP
MSG_FASTOPEN, TCP_FASTOPEN_CONNECT = 0x20000000, 30


def open_plainly(s: socket.socket, called: End) -> None:
    s.connect(called)


def open_fast(s: socket.socket, called: End) -> None:
    """The first data is in the SYN."""
    assert s.sendto(b"x", MSG_FASTOPEN, called) == 1


def open_fast_later(s: socket.socket, called: End) -> None:
    """connect() returns at once; the SYN leaves with the first data."""
    s.setsockopt(TCP, TCP_FASTOPEN_CONNECT, 1)
    s.connect(called)
    s.sendall(b"x")


WAYS = {
    "plain": (TCP, TCP, "1", open_plainly),
    "SYN cookies": (TCP, TCP, "2", open_plainly),
    "Fast Open": (TCP, TCP, "1", open_fast),
    "Fast Open later": (TCP, TCP, "1", open_fast_later),
    "Fast Open and SYN cookies": (TCP, TCP, "2", open_fast),
    "MPTCP client": (MPTCP, TCP, "1", open_plainly),
    "MPTCP server": (TCP, MPTCP, "1", open_plainly),
    "MPTCP": (MPTCP, MPTCP, "1", open_plainly),
    "MPTCP and SYN cookies": (MPTCP, MPTCP, "2", open_plainly),
}
Way = tuple[int, int, str, Callable[[socket.socket, End], None]]


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def way(request: pytest.FixtureRequest, client: Netns, waypoint: Netns) -> Iterator[Way]:
    """Fast Open without a cookie at both ends, so that data is taken from the SYN."""
    found: Way = request.param
    client.sysctl("net/ipv4/tcp_fastopen", "5")
    waypoint.sysctl("net/ipv4/tcp_fastopen", str(0x602))
    waypoint.sysctl("net/ipv4/tcp_syncookies", found[2])
    yield found
    client.sysctl("net/ipv4/tcp_fastopen", "1")
    waypoint.sysctl("net/ipv4/tcp_fastopen", "1")
    waypoint.sysctl("net/ipv4/tcp_syncookies", "1")


def listen(pod: Netns, end: End, protocol: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in end[0] else socket.AF_INET
    listener = pod.open_socket(family, socket.SOCK_STREAM, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(end)
    listener.listen(16)
    return listener


@pytest.mark.parametrize("redirected", [False, True])
def test_the_peer_query_is_right_whichever_way_a_connection_is_made(
    mesh: Engine,
    client: Netns,
    waypoint: Netns,
    family: int,
    gate: End,
    way: Way,
    redirected: bool,
) -> None:
    client_protocol, server_protocol, _, connect = way
    mesh.enroll(client)
    end = gate if redirected else (gate[0], PORT)
    mesh.vip(DIRECT[family], OTHER)
    mesh.port(80, [(waypoint.address(family), PORT)], OTHER)
    called = (VIPS if redirected else DIRECT)[family], 80
    with (
        listen(waypoint, end, server_protocol) as listener,
        client.open_socket(family, socket.SOCK_STREAM, client_protocol) as s,
        mesh.counts() as counts,
    ):
        connect(s, called)
        with listener.accept()[0] as accepted:
            told = peer(accepted)
            s.sendall(b"y")
            assert accepted.recv(2) in {b"x", b"xy", b"y"}
        assert s.getpeername()[:2] == called
    assert (told.source, told.original, told.original_port) == (CLIENT, packed(called[0]), 80)
    assert told.target == target_hash(SERVICE if redirected else OTHER, 80)
    assert Counter.PENDING_LOST not in counts


def test_a_client_that_is_gone_before_accept_was_who_it_was(
    mesh: Engine, client: Netns, waypoint: Netns, family: int, gate: End, way: Way
) -> None:
    """At a waypoint; one that takes MPTCP for itself is told nothing, never wrongly."""
    client_protocol, server_protocol, _, connect = way
    mesh.enroll(client)
    with listen(waypoint, gate, server_protocol) as listener:
        with client.open_socket(family, socket.SOCK_STREAM, client_protocol) as s:
            connect(s, (VIPS[family], 80))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        eventually(lambda: flows(mesh) == 0)
        with listener.accept()[0] as accepted:
            if client_protocol == server_protocol == MPTCP:
                assert source_of(accepted) is None
            else:
                told = peer(accepted)
                assert (told.source, told.target) == (CLIENT, target_hash(SERVICE, 80))


def tuple_of(port: int, source_port: int) -> FlowKey:
    """A connection that no socket has."""
    return FlowKey(packed("192.0.2.1"), packed("192.0.2.2"), source_port, port)


#: One slot, which every flow but one finds taken.
CROWDED = Knobs(pods=8, addresses=8, ports=8, endpoints=64, pending=8, flows=64, flow_slots=1)


@pytest.fixture(params=[1, 4096], ids=["one-slot", "many-slots"])
def slots(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Engines whose flows share a slot and the hash, or have slots of their own."""
    with engine("slots", replace(CROWDED, flow_slots=request.param)) as made:
        yield made


def test_user_space_writes_reads_and_ends_flows_wherever_they_are(slots: Engine) -> None:
    flows = slots.maps.flows
    made = {tuple_of(80, port): Flow(source=port, started=port) for port in range(1, 20)}
    for key, flow in made.items():
        flows.put(key, flow)
    assert dict(flows.items()) == made
    for key, flow in made.items():
        assert flows.get(key) == flow
        changed = replace(flow, identity=7)
        flows.put(key, changed)
        assert flows.get(key) == changed
        assert flows.delete(key)
        assert not flows.delete(key)
        assert flows.get(key) is None
        flows.put(key, flow)
    assert dict(flows.items()) == made
    empty(flows)
    assert list(flows.items()) == []


def test_a_slot_is_free_again_and_what_overflowed_is_still_found() -> None:
    """The first to end leaves the slot to the next, the hash keeps what it has."""
    with engine("slots", CROWDED) as mesh:
        flows = mesh.maps.flows
        first, second, third = (tuple_of(80, port) for port in (1, 2, 3))
        flows.put(first, Flow(source=1))
        flows.put(second, Flow(source=2))
        assert flows.delete(first)
        flows.put(third, Flow(source=3))
        assert where(mesh, third) == "slot"
        assert where(mesh, second) == "hash"
        flows.put(second, Flow(source=4))
        assert {flow.source for _, flow in flows.items()} == {3, 4}
        assert flows.delete(second)
        assert flows.delete(third)
        assert slots_in_use(mesh) == 0


def test_flows_that_find_no_room_are_said_and_leave_no_trace() -> None:
    with engine("slots", replace(CROWDED, flows=2)) as mesh:
        flows = mesh.maps.flows
        assert flows.max_entries == 3
        for port in range(3):
            flows.put(tuple_of(80, port), Flow(source=port))
        with pytest.raises(MapFullError, match="map flows is full"):
            flows.put(tuple_of(80, 3), Flow(source=3))
        assert flows.get(tuple_of(80, 3)) is None
        empty(flows)
        assert slots_in_use(mesh) == 0


def test_a_flow_that_user_space_ends_gives_back_its_count(mesh: Engine) -> None:
    flows, key = mesh.maps.flows, tuple_of(80, 1)
    endpoint, far = ActiveKey(key.destination, 80), ActiveKey(packed("192.0.2.9"), 15008)
    counted, tunnelled = FlowFlag.COUNTED, FlowFlag.COUNTED | FlowFlag.TUNNEL
    mesh.active.put(endpoint, 2)
    mesh.active.put(far, 2)
    for flags in (FlowFlag.SERVICE, counted, counted, counted, tunnelled):
        flows.put(key, Flow(flags=flags, far=far.address, far_port=far.port))
        assert flows.delete(key)
    assert dict(mesh.active.items()) == {far: 1}


def test_connections_that_share_a_slot_keep_their_own_flows(
    client: Netns, server: Netns
) -> None:
    """Open and closed in every order, with one slot for all."""
    order = random.Random(4)
    with engine("slots", CROWDED) as mesh, contextlib.ExitStack() as stack:
        mesh.enroll(client)
        mesh.enroll(server, SERVER)
        mesh.workload(server.v4)
        listener = stack.enter_context(server.listen(server.v4, PORT, 64))
        opened: list[tuple[socket.socket, socket.socket]] = []
        for _ in range(400):
            if len(opened) < 2 or (len(opened) < 40 and order.random() < 0.5):
                s = stack.enter_context(client.open_socket())
                s.connect((server.v4, PORT))
                opened.append((s, stack.enter_context(listener.accept()[0])))
            else:
                s, accepted = opened.pop(order.randrange(len(opened)))
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                s.close()
                accepted.close()
            ports = {key.source_port for key, _ in mesh.maps.flows.items()}
            assert ports == {s.getsockname()[1] for s, _ in opened}
        for _, accepted in opened:
            assert source_of(accepted) == CLIENT
        for s, _ in opened:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            s.close()
        eventually(lambda: slots_in_use(mesh) == 0 and not list(mesh.maps.flows.items()))


#: Connects again and again, and is reset each time.
STORM = """
import socket, sys
for _ in range(int(sys.argv[2])):
    with socket.create_connection((sys.argv[1], 8080), 5) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
"""


def test_a_slot_that_every_cpu_wants_is_nobodys_twice(client: Netns, server: Netns) -> None:
    """Several processes at once; afterwards neither a flow nor a count is left over."""
    with engine("slots", CROWDED) as mesh, contextlib.ExitStack() as stack:
        mesh.enroll(client)
        mesh.workload(server.v4)
        listener = stack.enter_context(server.listen(server.v4, PORT, 1024))
        command = ["/usr/bin/python3", "-c", STORM, server.v4, "300"]
        with mesh.counts() as counts:
            running = [stack.enter_context(client.popen(command)) for _ in range(4)]
            seen = 0
            while any(one.poll() is None for one in running) or ready(listener):
                if ready(listener):
                    listener.accept()[0].close()
                    seen += 1
            assert [one.returncode for one in running] == [0] * 4
        assert seen == 1200
        assert Counter.FLOW_TABLE_FULL not in counts
        eventually(lambda: slots_in_use(mesh) == 0 and not list(mesh.maps.flows.items()))


def ready(listener: socket.socket) -> bool:
    """Whether a connection waits to be accepted, or comes within a moment."""
    return bool(select.select([listener], [], [], 0.05)[0])


def where(mesh: Engine, key: FlowKey) -> str:
    """Which of the two maps a flow is in."""
    with closing(PinnedTable(mesh.place.pin_dir / "maps" / "flows", KEYS, VALUES)) as table:
        return "slot" if table.get(key) is None else "hash"


def slots_in_use(mesh: Engine) -> int:
    """Slots that aren't as new: claimed, checked, or overflowed."""
    with kernel.pinned(mesh.place.pin_dir / "maps" / "flow_slots") as fd:
        info = kernel.map_info(fd, "flow_slots")
        slots = [slot for _, slot in elements.entries(fd, info, "flow_slots")]
    return sum(any(slot[:HEADER]) for slot in slots)
