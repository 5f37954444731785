"""sk_lookup: only proven flows arrive at an identity port."""

from __future__ import annotations

import socket
import struct
import time

import pytest

from bpf.layout import Counter
from tests.bpf.engine import WAYPOINT, Engine, eventually
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
        assert time.monotonic() - started < 0.1
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
