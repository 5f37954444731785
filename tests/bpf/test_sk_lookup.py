"""sk_lookup: policies at the SYN, and proven flows alone at an identity port."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import replace

import pytest

from bpf.layout import (
    Chunk,
    ChunkFlag,
    Counter,
    Flow,
    FlowFlag,
    FlowKey,
    Guard,
    GuardFlag,
    Listener,
    Pod,
    RuleIndex,
    Verdict,
)
from tests.bpf.engine import CLIENT, WAYPOINT, Engine, eventually, packed
from tests.bpf.policies import FIRST, chunk, guard, hits, refuse, satisfies
from tests.bpf.prog_run import LookupProgram
from tests.support.netns import Netns

VIPS: dict[int, str] = {socket.AF_INET: "10.96.1.1", socket.AF_INET6: "fd00:96::1"}
IDENTITY_PORT = 15088


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def guarded(mesh: Engine, client: Netns, waypoint: Netns) -> Engine:
    """A waypoint's pod with an identity port, and a service that names it."""
    mesh.enroll(client)
    mesh.enroll(waypoint, WAYPOINT, waypoint=WAYPOINT)
    for family, vip in VIPS.items():
        mesh.workload(waypoint.address(family), WAYPOINT, identity_port=IDENTITY_PORT)
        mesh.vip(vip, waypoint=WAYPOINT)
    mesh.port(80, [])
    ends = [(waypoint.v4, IDENTITY_PORT), (waypoint.v6, IDENTITY_PORT)]
    mesh.port(0, ends, WAYPOINT)
    return mesh


@pytest.mark.parametrize("cookies", ["0", "1", "2"])
def test_redirected_connections_arrive(
    guarded: Engine, client: Netns, waypoint: Netns, family: int, cookies: str
) -> None:
    """With SYN cookies (2: always) the program runs for the final ACK as well."""
    waypoint.sysctl("net/ipv4/tcp_syncookies", cookies)
    try:
        with (
            waypoint.listen(waypoint.address(family), IDENTITY_PORT) as listener,
            client.open_socket(family) as s,
            guarded.counts() as counts,
        ):
            s.connect((VIPS[family], 80))
            accepted, _ = listener.accept()
            with accepted:
                s.sendall(b"x")
                assert accepted.recv(1) == b"x"
    finally:
        waypoint.sysctl("net/ipv4/tcp_syncookies", "1")
    assert counts == {Counter.CONNECT_WAYPOINT: 1}


def test_a_direct_call_is_refused(
    guarded: Engine, client: Netns, waypoint: Netns, family: int
) -> None:
    address = waypoint.address(family)
    with waypoint.listen(address, IDENTITY_PORT), client.open_socket(family) as s:
        started = time.monotonic()
        with guarded.counts() as counts, pytest.raises(ConnectionRefusedError):
            s.connect((address, IDENTITY_PORT))
        assert time.monotonic() - started < 0.9  # a SYN that is dropped takes 1 s
    assert counts == {Counter.CONNECT_DIRECT: 1, Counter.REFUSED_UNPROVEN: 1}


def test_a_call_from_outside_the_mesh_is_refused(
    guarded: Engine, server: Netns, waypoint: Netns, family: int
) -> None:
    address = waypoint.address(family)
    with (
        waypoint.listen(address, IDENTITY_PORT),
        server.open_socket(family) as s,
        guarded.counts() as counts,
        pytest.raises(ConnectionRefusedError),
    ):
        s.connect((address, IDENTITY_PORT))
    assert counts == {Counter.REFUSED_UNPROVEN: 1}


def test_other_ports_are_open(
    guarded: Engine, server: Netns, waypoint: Netns, family: int
) -> None:
    address = waypoint.address(family)
    with waypoint.listen(address, 15021), server.open_socket(family) as s:
        s.connect((address, 15021))


def test_other_pods_may_use_the_same_port(
    guarded: Engine, server: Netns, client: Netns, family: int
) -> None:
    guarded.enroll(server)
    guarded.workload(server.address(family))
    address = server.address(family)
    with server.listen(address, IDENTITY_PORT), client.open_socket(family) as s:
        s.connect((address, IDENTITY_PORT))


@pytest.mark.parametrize("loopback", ["127.0.0.1", "::1"])
def test_loopback_passes(guarded: Engine, waypoint: Netns, loopback: str) -> None:
    """Even where someone claims a loopback address for the mesh."""
    guarded.workload(loopback, WAYPOINT, identity_port=IDENTITY_PORT)
    with (
        waypoint.listen(loopback, IDENTITY_PORT) as listener,
        waypoint.open_socket(listener.family) as s,
    ):
        s.connect((loopback, IDENTITY_PORT))


def test_udp_passes(guarded: Engine, client: Netns, waypoint: Netns, family: int) -> None:
    address = waypoint.address(family)
    with waypoint.open_socket(family, socket.SOCK_DGRAM) as receiver:
        receiver.bind((address, IDENTITY_PORT))
        with client.open_socket(family, socket.SOCK_DGRAM) as s:
            s.sendto(b"x", (address, IDENTITY_PORT))
        assert receiver.recv(1) == b"x"


@pytest.mark.parametrize("spoofed", [False, True])
def test_a_raw_syn_is_refused(
    guarded: Engine, client: Netns, waypoint: Netns, spoofed: bool
) -> None:
    """A pod with CAP_NET_RAW writes its own SYN: the kernel saw no connect()."""
    source = "10.99.0.2" if spoofed else client.v4
    before = refused_unproven(guarded)
    with waypoint.listen(waypoint.v4, IDENTITY_PORT) as listener:
        with (
            client.open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw,
            guarded.counts() as counts,
        ):
            raw.sendto(syn(source, waypoint.v4, 40000, IDENTITY_PORT), (waypoint.v4, 0))
            eventually(lambda: refused_unproven(guarded) > before)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert counts == {Counter.REFUSED_UNPROVEN: 1}


WHO = 0x1DE47
NONE = RuleIndex.NONE


@pytest.fixture
def pods(mesh: Engine, client: Netns, server: Netns) -> Engine:
    """An enrolled client of an identity, and an enrolled server."""
    mesh.enroll(client)
    mesh.enroll(server)
    mesh.maps.pods.put(client.cookie, Pod(CLIENT, identity=WHO))
    return mesh


def connects(client: Netns, server: Netns, family: int, port: int = 8080) -> bool:
    """Whether a connection is made, or refused at once.

    It ends with a reset: of a farewell, a packet might come after the end, and count.
    """
    address = server.address(family)
    with server.listen(address, port), client.open_socket(family) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        started = time.monotonic()
        try:
            s.connect((address, port))
        except ConnectionRefusedError:
            assert time.monotonic() - started < 0.9  # a SYN that is dropped takes 1 s
            return False
        return True


def test_a_pod_whose_guard_is_missing_or_refuses_takes_nothing(
    pods: Engine, client: Netns, server: Netns, family: int
) -> None:
    assert connects(client, server, family)
    refuse(pods, server)
    with pods.counts() as counts:
        assert not connects(client, server, family)
    assert counts[Counter.REFUSED_UNGUARDED] == 1
    for key, kept in list(pods.maps.guards.items()):
        pods.maps.guards.put(key, replace(kept, flags=GuardFlag.PARTED))
    with pods.counts() as counts:
        assert not connects(client, server, family)
    assert counts[Counter.REFUSED_UNGUARDED] == 1
    for key, _ in list(pods.maps.guards.items()):
        pods.maps.guards.delete(key)
    with pods.counts() as counts:
        assert not connects(client, server, family)
    assert counts[Counter.REFUSED_UNGUARDED] == 1


def test_a_deny_rule_refuses_and_is_counted(
    pods: Engine, client: Netns, server: Netns, family: int
) -> None:
    record = chunk(deny=(3, 700), flags=ChunkFlag.IDENTITIES)
    guard(pods, server, record)
    satisfies(pods, WHO)
    assert connects(client, server, family)
    satisfies(pods, WHO, 700)
    assert not connects(client, server, family)
    assert not connects(client, server, family)
    assert hits(pods) == {(FIRST, 700, Verdict.DENIED): 2}


def test_an_allow_rule_is_needed_where_there_are_some(
    pods: Engine, client: Netns, server: Netns, family: int
) -> None:
    guard(pods, server, chunk(allow=(0,), flags=ChunkFlag.IDENTITIES))
    satisfies(pods, WHO)
    assert not connects(client, server, family)
    assert hits(pods) == {(FIRST, NONE, Verdict.NOT_ALLOWED): 1}
    satisfies(pods, WHO, 0)
    assert connects(client, server, family)


def test_who_is_not_compiled_yet_is_refused(
    pods: Engine, client: Netns, server: Netns, family: int
) -> None:
    guard(pods, server, chunk(deny=(0,), flags=ChunkFlag.IDENTITIES))
    assert not connects(client, server, family)
    assert hits(pods) == {(FIRST, NONE, Verdict.UNKNOWN_IDENTITY): 1}


def test_who_is_not_of_the_mesh_is_unauthenticated(
    pods: Engine, waypoint: Netns, server: Netns, family: int
) -> None:
    guard(pods, server, chunk(deny=(0,), flags=ChunkFlag.IDENTITIES))
    satisfies(pods, 0, 0)
    assert not connects(waypoint, server, family)
    satisfies(pods, 0)
    assert connects(waypoint, server, family)


def test_a_set_that_is_not_there_refuses(
    pods: Engine, client: Netns, server: Netns, family: int
) -> None:
    guard(pods, server, chunk(deny=(), flags=ChunkFlag.MORE))
    assert not connects(client, server, family)
    guard(pods, server, chunk(deny=(0,), flags=ChunkFlag.SOURCES))
    assert not connects(client, server, family)
    assert hits(pods) == {(FIRST, NONE, Verdict.UNKNOWN_POLICY): 2}


def test_rules_of_several_chunks(
    pods: Engine, client: Netns, server: Netns, family: int
) -> None:
    """An allow in the first doesn't outweigh a deny in the last."""
    more = ChunkFlag.MORE | ChunkFlag.ALLOWS
    guard(pods, server, chunk(allow=(0,), flags=more), *[chunk(flags=more)] * 14, Chunk())
    last = FIRST + 15
    pods.maps.chunks.put(last, chunk(flags=ChunkFlag.ALLOWS))
    assert connects(client, server, family)
    pods.maps.chunks.put(last, chunk(deny=(1023,), flags=ChunkFlag.ALLOWS))
    assert not connects(client, server, family)
    assert hits(pods) == {(last, 1023, Verdict.DENIED): 1}


def test_dry_run_is_counted_and_passes(
    pods: Engine, client: Netns, server: Netns, family: int
) -> None:
    guard(pods, server, chunk(dry_deny=(1,), dry_allow=(2,), flags=ChunkFlag.IDENTITIES))
    for rules in ((1, 2), (2,), ()):
        satisfies(pods, WHO, *rules)
        assert connects(client, server, family)
    assert hits(pods) == {
        (FIRST, 1, Verdict.DRY_DENIED): 1,
        (FIRST, 2, Verdict.DRY_ALLOWED): 1,
        (FIRST, NONE, Verdict.DRY_NOT_ALLOWED): 1,
    }


def test_no_policy_is_asked_on_the_identity_port(
    guarded: Engine, client: Netns, waypoint: Netns, family: int
) -> None:
    guard(guarded, waypoint, chunk(deny=(0,)), identity_port=IDENTITY_PORT)
    with (
        waypoint.listen(waypoint.address(family), IDENTITY_PORT) as listener,
        client.open_socket(family) as s,
    ):
        s.connect((VIPS[family], 80))
        listener.accept()[0].close()
    assert not connects(client, waypoint, family)


def test_udp_passes_where_there_are_policies_and_is_counted(
    pods: Engine, client: Netns, server: Netns, family: int
) -> None:
    guard(pods, server, chunk(deny=(0,)))
    address = server.address(family)
    with server.open_socket(family, socket.SOCK_DGRAM) as receiver:
        receiver.bind((address, 53))
        with client.open_socket(family, socket.SOCK_DGRAM) as s, pods.counts() as counts:
            s.sendto(b"x", (address, 53))
            assert receiver.recv(1) == b"x"
    assert counts[Counter.UDP_UNAUTHORIZED] == 1


def test_loopback_passes_where_there_are_policies(pods: Engine, server: Netns) -> None:
    guard(pods, server, chunk(deny=(0,)))
    with server.listen("127.0.0.1", 8080), server.open_socket() as s:
        s.connect(("127.0.0.1", 8080))


def test_the_nodes_own_netns_is_guarded_by_port(mesh: Engine) -> None:
    program = LookupProgram(mesh.place.pin_dir / "progs" / "sk_lookup_host")
    node, peer = packed("10.0.0.100"), packed("10.0.0.1")
    mesh.maps.listeners.put(Listener(8080), 7)
    mesh.maps.listeners.put(Listener(8081), 8)
    mesh.maps.listeners.put(Listener(8082), 9)  # without a guard
    mesh.maps.member_guards.put(7, Guard(7, FIRST))
    mesh.maps.member_guards.put(8, Guard(8, 0, 0, GuardFlag.REFUSE))
    mesh.maps.chunks.put(FIRST, chunk(allow=(0,), flags=ChunkFlag.IDENTITIES))
    satisfies(mesh, 0)
    satisfies(mesh, WHO, 0)
    assert program.passes(peer, 40000, node, 22)
    assert not program.passes(peer, 40000, node, 8080)
    assert not program.passes(peer, 40000, node, 8081)
    assert not program.passes(peer, 40000, node, 8082)
    assert program.passes(peer, 40000, packed("127.0.0.1"), 8080)
    mesh.maps.flows.put(FlowKey(peer, node, 40000, 8080), Flow(identity=WHO))
    assert program.passes(peer, 40000, node, 8080)
    mesh.maps.flows.put(FlowKey(peer, node, 40000, 8081), Flow(flags=FlowFlag.PROBE))
    assert program.passes(peer, 40000, node, 8081)
    with mesh.counts() as counts:
        assert program.passes(peer, 40000, node, 8081, socket.IPPROTO_UDP)
        assert program.passes(peer, 40000, node, 53, socket.IPPROTO_UDP)
    assert counts == {Counter.UDP_UNAUTHORIZED: 1}
    program.close()


def refused_unproven(mesh: Engine) -> int:
    return mesh.maps.counters()[Counter.REFUSED_UNPROVEN]


def syn(source: str, destination: str, source_port: int, destination_port: int) -> bytes:
    """An IPv4 packet with a SYN in it."""
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    bare = struct.pack(
        "!HHIIBBHHH", source_port, destination_port, 1, 0, 5 << 4, 2, 64240, 0, 0
    )
    pseudo = ends + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(bare))
    tcp = bare[:16] + struct.pack("!H", checksum(pseudo + bare)) + bare[18:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, socket.IPPROTO_TCP, 0)
    return head + ends + tcp


def checksum(data: bytes) -> int:
    """The Internet checksum, RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total
