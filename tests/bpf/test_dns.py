"""dns.h: questions to the cluster's DNS go to the daemon, while it listens."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from bpf.layout import Counter, DnsPort, FlowFlag, LocalAddress
from tests.bpf.engine import CLIENT, SERVICE, Engine, packed
from tests.support.netns import Netns

V4, V6 = socket.AF_INET, socket.AF_INET6
DATAGRAM = socket.SOCK_DGRAM


@pytest.fixture(params=["ipv4", "ipv6", "mapped"])
def how(request: pytest.FixtureRequest) -> str:
    """An IPv4 socket, an IPv6 one, and that with ::ffff:…."""
    return str(request.param)


@pytest.fixture
def asking(mesh: Engine, client: Netns, server: Netns) -> Engine:
    """A pod, and nameservers at the server's addresses."""
    mesh.enroll(client)
    for address in (server.v4, server.v6):
        mesh.maps.nameservers.put(LocalAddress(packed(address)), 1)
    return mesh


def nameserver(server: Netns, how: str) -> str:
    return {"ipv4": server.v4, "ipv6": server.v6, "mapped": f"::ffff:{server.v4}"}[how]


def open_client(client: Netns, how: str, kind: int) -> socket.socket:
    return client.open_socket(V4 if how == "ipv4" else V6, kind)


@contextlib.contextmanager
def serving(where: Netns, address: str, port: int) -> Iterator[tuple[socket.socket, ...]]:
    """A UDP and a TCP socket of a nameserver's, or of the daemon's."""
    with (
        where.open_socket(V6 if ":" in address else V4, DATAGRAM) as datagrams,
        where.listen(address, port) as listener,
    ):
        datagrams.bind((address, port))
        yield datagrams, listener


def daemon(
    client: Netns, how: str
) -> contextlib.AbstractContextManager[tuple[socket.socket, ...]]:
    return serving(client, "::1" if how == "ipv6" else "127.0.0.1", DnsPort.LOCAL)


def plain(
    server: Netns, how: str
) -> contextlib.AbstractContextManager[tuple[socket.socket, ...]]:
    return serving(server, server.v6 if how == "ipv6" else server.v4, DnsPort.ASKED)


def answer(served: socket.socket) -> None:
    data, sender = served.recvfrom(100)
    served.sendto(data, sender)


@pytest.mark.parametrize("listening", [True, False])
@pytest.mark.parametrize("connected", [True, False])
def test_datagrams_go_to_the_daemon_while_it_listens(
    asking: Engine, client: Netns, server: Netns, how: str, connected: bool, listening: bool
) -> None:
    asked = (nameserver(server, how), 53)
    with (
        daemon(client, how) if listening else plain(server, how) as (served, _),
        open_client(client, how, DATAGRAM) as s,
        asking.counts() as counts,
    ):
        if connected:
            s.connect(asked)
            assert s.getpeername()[:2] == asked
            s.send(b"?")
        else:
            s.sendto(b"?", asked)
        answer(served)
        data, sender = s.recvfrom(100)
        assert (data, sender[:2]) == (b"?", asked)
    assert counts == ({Counter.DNS_REDIRECTED: 1} if listening else {})


def test_connections_go_to_the_daemon_while_it_listens(
    asking: Engine, client: Netns, server: Netns, how: str
) -> None:
    asked = (nameserver(server, how), 53)
    local = "::1" if how == "ipv6" else "127.0.0.1"
    with (
        daemon(client, how) as (_, listener),
        open_client(client, how, socket.SOCK_STREAM) as s,
    ):
        s.connect(asked)
        assert s.getpeername()[:2] == asked
        listener.accept()[0].close()
        flow = asking.flow(s, (local, DnsPort.LOCAL), client.cookie)
        assert flow is not None
        assert (flow.source, flow.target, flow.flags) == (CLIENT, 0, FlowFlag.DNS)
        assert (flow.original, flow.original_port) == (packed(asked[0]), 53)


def test_connections_go_on_without_the_daemon(
    asking: Engine, client: Netns, server: Netns, how: str
) -> None:
    asked = (nameserver(server, how), 53)
    with plain(server, how) as (_, listener), open_client(client, how, socket.SOCK_STREAM) as s:
        s.connect(asked)
        listener.accept()[0].close()
        assert [flow.flags for _, flow in asking.maps.flows.items()] == [FlowFlag.OUTSIDE]


def test_a_daemon_that_dies_breaks_nothing(
    asking: Engine, client: Netns, server: Netns, how: str
) -> None:
    """One unconnected socket asks on: the daemon, the nameserver, the daemon again."""
    asked = (nameserver(server, how), 53)
    with (
        plain(server, how) as (beside, _),
        open_client(client, how, DATAGRAM) as s,
        open_client(client, how, socket.SOCK_STREAM) as after,
    ):
        for _ in range(2):
            with daemon(client, how) as (served, _):
                s.sendto(b"?", asked)
                answer(served)
                assert s.recvfrom(100)[1][:2] == asked
            s.sendto(b"?", asked)
            answer(beside)
            assert s.recvfrom(100)[1][:2] == asked
        after.connect(asked)


def test_a_nameserver_that_is_a_service_is_balanced_without_the_daemon(
    asking: Engine, client: Netns, server: Netns
) -> None:
    vip = "10.96.0.10"
    asking.maps.nameservers.put(LocalAddress(packed(vip)), 1)
    asking.vip(vip, SERVICE)
    asking.port(53, [(server.v4, 53)])
    with plain(server, "ipv4") as (served, _), open_client(client, "ipv4", DATAGRAM) as s:
        s.sendto(b"?", (vip, 53))
        answer(served)
        assert s.recvfrom(100)[1] == (vip, 53)


def test_other_ports_and_addresses_are_not_redirected(
    asking: Engine, client: Netns, server: Netns, waypoint: Netns
) -> None:
    with (
        daemon(client, "ipv4"),
        serving(server, server.v4, 54) as (other_port, _),
        serving(waypoint, waypoint.v4, 53) as (other_address, _),
        open_client(client, "ipv4", DATAGRAM) as s,
    ):
        s.sendto(b"54", (server.v4, 54))
        assert other_port.recv(10) == b"54"
        s.sendto(b"53", (waypoint.v4, 53))
        assert other_address.recv(10) == b"53"


def test_a_socket_that_is_bound_to_a_device_asks_the_nameserver(
    asking: Engine, client: Netns, server: Netns, how: str
) -> None:
    with (
        daemon(client, how),
        plain(server, how) as (served, _),
        open_client(client, how, DATAGRAM) as s,
    ):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        s.sendto(b"?", (nameserver(server, how), 53))
        assert served.recv(10) == b"?"


def test_pods_that_are_not_enrolled_ask_the_nameserver(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    mesh.maps.nameservers.put(LocalAddress(packed(server.v4)), 1)
    with (
        daemon(client, "ipv4"),
        plain(server, "ipv4") as (served, _),
        open_client(client, "ipv4", DATAGRAM) as s,
    ):
        s.sendto(b"?", (server.v4, 53))
        assert served.recv(10) == b"?"


def test_a_connection_to_the_daemons_port_is_no_listener(
    asking: Engine, client: Netns, server: Netns
) -> None:
    """Its accepted connections outlive a listener: they take no new questions."""
    with contextlib.ExitStack() as stack:
        with client.listen("127.0.0.1", DnsPort.LOCAL) as listener:
            left = stack.enter_context(client.open_socket())
            left.connect(("127.0.0.1", DnsPort.LOCAL))
            stack.enter_context(listener.accept()[0])
        plain_tcp = stack.enter_context(server.listen(server.v4, 53))
        s = stack.enter_context(client.open_socket())
        s.connect((server.v4, 53))
        plain_tcp.accept()[0].close()
