"""udp.h, with sendmsg and recvmsg: datagrams to virtual addresses, and their answers."""

from __future__ import annotations

import socket
import struct

import pytest

from bpf.layout import Counter, Reply, ReplyKey, StickyKind
from tests.bpf.engine import SERVICE, WAYPOINT, Engine, packed
from tests.support.netns import Netns

VIP4, VIP6 = "10.96.1.1", "fd00:96::1"
OTHER4, OTHER6 = "10.96.1.2", "fd00:96::2"
OTHER = SERVICE + 1
V4, V6 = socket.AF_INET, socket.AF_INET6
SO_COOKIE = 57
IP_RECVERR, IPV6_RECVERR = 11, 25


@pytest.fixture(params=["ipv4", "ipv6", "mapped"])
def how(request: pytest.FixtureRequest) -> str:
    """An IPv4 socket, an IPv6 one, and that with ::ffff:…."""
    return str(request.param)


def udp(where: Netns, how: str) -> socket.socket:
    return where.open_socket(V4 if how == "ipv4" else V6, socket.SOCK_DGRAM)


def pick(how: str, v4: str, v6: str) -> str:
    return {"ipv4": v4, "ipv6": v6, "mapped": f"::ffff:{v4}"}[how]


def echo(where: Netns, how: str, port: int) -> socket.socket:
    """A server's bound socket; answer() answers one datagram."""
    made = udp(where, "ipv6" if how == "ipv6" else "ipv4")
    made.bind((where.v6 if how == "ipv6" else where.v4, port))
    return made


def answer(server: socket.socket) -> None:
    data, sender = server.recvfrom(100)
    server.sendto(b"re: " + data, sender)


def make_service(mesh: Engine, server: Netns, ports: list[int], waypoint: int = 0) -> None:
    mesh.vip(VIP4, waypoint=waypoint)
    mesh.vip(VIP6, waypoint=waypoint)
    mesh.port(80, [(where, port) for where in (server.v4, server.v6) for port in ports])


def kept(mesh: Engine, s: socket.socket) -> int:
    """The port of the endpoint that an unconnected socket keeps."""
    return next(v.port for k, v in mesh.maps.sticky.items() if k.client == cookie(s))


def cookie(s: socket.socket) -> int:
    return int(struct.unpack("=Q", s.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0])


def test_a_connected_socket_talks_with_the_virtual_address(
    mesh: Engine, client: Netns, server: Netns, how: str
) -> None:
    mesh.enroll(client)
    make_service(mesh, server, [8080])
    called = pick(how, VIP4, VIP6)
    with echo(server, how, 8080) as served, udp(client, how) as s, mesh.counts() as counts:
        s.connect((called, 80))
        assert s.getpeername()[:2] == (called, 80)
        s.send(b"hello")
        answer(served)
        data, sender = s.recvfrom(100)
        assert (data, sender[:2]) == (b"re: hello", (called, 80))
        s.send(b"again")
        answer(served)
        assert s.recv(100) == b"re: again"
    assert counts == {Counter.UDP_SERVICE: 1}


def test_an_unconnected_socket_talks_with_the_virtual_address(
    mesh: Engine, client: Netns, server: Netns, how: str
) -> None:
    mesh.enroll(client)
    make_service(mesh, server, [8080])
    called = pick(how, VIP4, VIP6)
    with echo(server, how, 8080) as served, udp(client, how) as s, mesh.counts() as counts:
        for _ in range(2):
            s.sendto(b"hello", (called, 80))
            answer(served)
            data, sender = s.recvfrom(100)
            assert (data, sender[:2]) == (b"re: hello", (called, 80))
    assert counts == {Counter.UDP_SERVICE: 2}


def test_a_connected_mapped_sockets_peer_is_not_resolved_again(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    """Even if the endpoint's address is a service's too: its sends run sendmsg4."""
    mesh.enroll(client)
    make_service(mesh, server, [8080])
    mesh.vip(server.v4, OTHER)
    mesh.port(8080, [(server.v4, 8081)], OTHER)
    with echo(server, "ipv4", 8080) as served, udp(client, "mapped") as s:
        s.connect((f"::ffff:{VIP4}", 80))
        s.send(b"x")
        assert served.recv(10) == b"x"


def test_what_the_daemon_can_find_of_a_socket(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    """Cookie and endpoint are what sock_diag shows of a connected socket, too."""
    mesh.enroll(client)
    make_service(mesh, server, [8080])
    with udp(client, "ipv4") as s:
        s.connect((VIP4, 80))
        ((key, reply),) = mesh.maps.replies.items()
        assert key == ReplyKey(cookie(s), packed(server.v4), 8080)
        assert (reply.address, reply.port) == (packed(VIP4), 80)


def test_a_sockets_datagrams_stay_on_one_endpoint_and_sockets_spread(
    mesh: Engine, client: Netns, server: Netns, how: str
) -> None:
    mesh.enroll(client)
    make_service(mesh, server, list(range(9000, 9008)))
    seen = set()
    for _ in range(20):
        with udp(client, how) as s:
            s.sendto(b"x", (pick(how, VIP4, VIP6), 80))
            first = kept(mesh, s)
            for _ in range(5):
                s.sendto(b"x", (pick(how, VIP4, VIP6), 80))
            assert kept(mesh, s) == first
            mine = [k.port for k, _ in mesh.maps.replies.items() if k.cookie == cookie(s)]
            assert mine == [first]
            seen.add(first)
    assert len(seen) > 1


def test_flows_stay_over_generations_and_move_when_their_endpoint_is_gone(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    """A large set, so that every depth of the search is met."""
    mesh.enroll(client)
    ports = list(range(2001, 2301))
    make_service(mesh, server, ports)
    sockets = [udp(client, "ipv4") for _ in range(60)]

    def sent() -> list[int]:
        for s in sockets:
            s.sendto(b"x", (VIP4, 80))
        return [kept(mesh, s) for s in sockets]

    before = sent()
    make_service(mesh, server, [*ports[::2], *range(3000, 3100), *ports[1::2]])
    assert sent() == before
    left = ports[: len(ports) // 2]
    make_service(mesh, server, left)
    after = sent()
    for old, new in zip(before, after, strict=True):
        assert new in left
        assert old not in left or new == old
    assert sent() == after
    for s in sockets:
        s.close()


def test_a_services_affinity_is_where_a_sockets_begins(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    mesh.enroll(client)
    make_service(mesh, server, list(range(9000, 9008)))
    mesh.vip(VIP4, affinity=60)
    seen = set()
    for _ in range(10):
        with udp(client, "ipv4") as s, udp(client, "ipv4") as connected:
            s.sendto(b"x", (VIP4, 80))
            seen.add(kept(mesh, s))
            connected.connect((VIP4, 80))
            seen |= {k.port for k, _ in mesh.maps.replies.items()}
    assert len(seen) == 1
    kinds = {key.kind for key, _ in mesh.maps.sticky.items()}
    assert kinds == {StickyKind.UDP, StickyKind.SOCKET}


def two_services(mesh: Engine, server: Netns, ports: list[int]) -> None:
    make_service(mesh, server, ports)
    mesh.vip(OTHER4, OTHER)
    mesh.vip(OTHER6, OTHER)
    both = [(where, port) for where in (server.v4, server.v6) for port in ports]
    mesh.port(80, both, OTHER)


def test_two_virtual_addresses_do_not_share_an_endpoint_if_there_is_another(
    mesh: Engine, client: Netns, server: Netns, how: str
) -> None:
    mesh.enroll(client)
    two_services(mesh, server, list(range(9000, 9008)))
    for _ in range(40):
        with udp(client, how) as s:
            s.sendto(b"x", (pick(how, VIP4, VIP6), 80))
            s.sendto(b"x", (pick(how, OTHER4, OTHER6), 80))
            mine = {
                k.port: v.address for k, v in mesh.maps.replies.items()
                if k.cookie == cookie(s)
            }  # fmt: skip
            assert sorted(mine.values()) == sorted(
                packed(pick(how, *vips)) for vips in ((VIP4, VIP6), (OTHER4, OTHER6))
            )


def test_where_they_must_share_it_the_last_one_asked_is_shown(
    mesh: Engine, client: Netns, server: Netns, how: str
) -> None:
    mesh.enroll(client)
    two_services(mesh, server, [8080])
    first, second = pick(how, VIP4, VIP6), pick(how, OTHER4, OTHER6)
    with echo(server, how, 8080) as served, udp(client, how) as s:
        for called in (first, second, first):
            s.sendto(b"x", (called, 80))
            answer(served)
            assert s.recvfrom(100)[1][:2] == (called, 80)


def test_a_connected_socket_may_send_elsewhere(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    mesh.enroll(client)
    make_service(mesh, server, [8080])
    with (
        echo(server, "ipv4", 8080) as served,
        echo(server, "ipv4", 8081) as plain,
        udp(client, "ipv4") as s,
    ):
        s.connect((server.v4, 8081))
        s.sendto(b"x", (VIP4, 80))
        assert served.recv(10) == b"x"
        s.send(b"y")
        assert plain.recv(10) == b"y"
        assert s.getpeername() == (server.v4, 8081)


@pytest.mark.parametrize("binding", ["free", "bound", "device", "bound+device"])
@pytest.mark.parametrize("reason", [Counter.REFUSED_NO_PORT, Counter.REFUSED_NO_ENDPOINT])
@pytest.mark.parametrize("connected", [True, False])
def test_refused_looks_like_a_closed_port(
    mesh: Engine,
    client: Netns,
    server: Netns,
    how: str,
    binding: str,
    reason: Counter,
    connected: bool,
) -> None:
    mesh.enroll(client)
    make_service(mesh, server, [])
    called = (pick(how, VIP4, VIP6), 80 if reason == Counter.REFUSED_NO_ENDPOINT else 81)
    with udp(client, how) as s, mesh.counts() as counts:
        if "device" in binding:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        if "bound" in binding:
            s.bind((pick(how, client.v4, client.v6), 0))
        if "device" in binding:  # see refusal.h
            with pytest.raises(PermissionError):
                s.connect(called) if connected else s.sendto(b"x", called)
        elif connected:
            s.connect(called)
            s.send(b"x")
            with pytest.raises(ConnectionRefusedError):
                s.recv(10)
        else:
            # Only who asks for errors gets them on an unconnected socket.
            if how == "ipv6":
                s.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
            else:
                s.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            s.sendto(b"x", called)
            with pytest.raises(ConnectionRefusedError):
                s.recv(10)
    assert counts == {reason: 1}
    assert list(mesh.maps.replies.items()) == []


def test_port_0_is_left_to_the_kernel(mesh: Engine, client: Netns) -> None:
    """getaddrinfo() connects there to learn the source address of a destination."""
    mesh.enroll(client)
    mesh.vip("10.99.0.2")
    with udp(client, "ipv4") as s, mesh.counts() as counts:
        s.connect(("10.99.0.2", 0))
        assert s.getsockname()[0] == client.v4
    assert counts == {}


def test_a_workload_is_reached_as_called_past_its_waypoint(
    mesh: Engine, client: Netns, server: Netns, how: str
) -> None:
    mesh.enroll(client)
    mesh.workload(server.v6 if how == "ipv6" else server.v4, waypoint=WAYPOINT)
    called = (pick(how, server.v4, server.v6), 8080)
    with echo(server, how, 8080) as served, udp(client, how) as s, mesh.counts() as counts:
        s.sendto(b"x", called)
        assert served.recv(10) == b"x"
        s.connect(called)
        s.send(b"y")
        assert served.recv(10) == b"y"
    assert counts == {Counter.UDP_DIRECT: 2}


def test_a_service_is_reached_past_its_waypoint(
    mesh: Engine, client: Netns, server: Netns, how: str
) -> None:
    mesh.enroll(client)
    make_service(mesh, server, [8080], waypoint=WAYPOINT)
    mesh.port(0, [("10.99.0.3", 15088), ("fd99::3", 15088)], WAYPOINT)
    with echo(server, how, 8080) as served, udp(client, how) as s:
        s.sendto(b"x", (pick(how, VIP4, VIP6), 80))
        assert served.recv(10) == b"x"


@pytest.mark.parametrize("enrolled", [True, False])
def test_what_is_not_of_the_mesh_is_left_alone(
    mesh: Engine, client: Netns, server: Netns, how: str, enrolled: bool
) -> None:
    if enrolled:
        mesh.enroll(client)
    else:
        mesh.vip(server.v4)
        mesh.vip(server.v6)
    called = (pick(how, server.v4, server.v6), 8080)
    with echo(server, how, 8080) as served, udp(client, how) as s, mesh.counts() as counts:
        s.sendto(b"x", called)
        answer(served)
        assert s.recvfrom(10)[1][:2] == called
        s.connect(called)
        assert s.getpeername()[:2] == called
    assert counts == {}
    assert list(mesh.maps.replies.items()) == []


@pytest.mark.parametrize("loss", ["fell out", "not whole"])
def test_a_lost_reply_is_seen_as_what_it_is(
    mesh: Engine, client: Netns, server: Netns, loss: str
) -> None:
    mesh.enroll(client)
    make_service(mesh, server, [8080])
    with echo(server, "ipv4", 8080) as served, udp(client, "ipv4") as s:
        s.connect((VIP4, 80))
        ((key, reply),) = mesh.maps.replies.items()
        if loss == "fell out":
            mesh.maps.replies.delete(key)
        else:
            mesh.maps.replies.put(key, Reply(packed(OTHER4), 80, reply.check))
        s.send(b"x")
        answer(served)
        assert s.recvfrom(100)[1] == (server.v4, 8080)
        assert s.getpeername() == (server.v4, 8080)


def test_a_refused_socket_can_be_used_again(
    mesh: Engine, client: Netns, server: Netns, how: str
) -> None:
    mesh.enroll(client)
    make_service(mesh, server, [])
    called = (pick(how, VIP4, VIP6), 80)
    with echo(server, how, 8080) as served, udp(client, how) as s:
        s.sendto(b"x", called)
        make_service(mesh, server, [8080])
        s.sendto(b"y", called)
        assert served.recv(10) == b"y"
