"""sock_diag on real sockets."""

from __future__ import annotations

import os
import socket
from contextlib import closing

import pytest

from bpf.netns import in_netns
from daemon.sock_diag import (
    CONNECTED,
    OPEN,
    SockDiag,
    Socket,
    TcpState,
    messages,
    raise_error,
)
from tests.bpf.engine import eventually
from tests.bpf.test_sk_lookup import syn
from tests.support.netns import Netns, pair


@pytest.fixture(scope="module")
def ends():
    with pair() as made:
        yield made


def diag_in(netns: Netns) -> SockDiag:
    with in_netns(netns.fd):
        return SockDiag()


@pytest.mark.parametrize("how", ["ipv4", "ipv6", "mapped"])
def test_connections_are_listed_and_closed(ends, how):
    client, server = ends
    family = socket.AF_INET if how == "ipv4" else socket.AF_INET6
    listening = "::" if how == "mapped" else server.address(family)
    target = server.v4 if how != "ipv6" else server.v6
    with (
        server.listen(listening, 8080) as listener,
        client.open_socket(socket.AF_INET6 if how == "ipv6" else socket.AF_INET) as s,
        closing(diag_in(server)) as diag,
    ):
        s.connect((target, 8080))
        accepted, _ = listener.accept()
        with accepted:
            (found,) = diag.dump(*OPEN)
            assert found == Socket(
                TcpState.ESTABLISHED,
                packed(target),
                8080,
                packed(s.getsockname()[0]),
                s.getsockname()[1],
                family,
                found.identifier,
                os.fstat(accepted.fileno()).st_ino,
            )
            assert [found.local_port for found in diag.dump(TcpState.LISTEN)] == [8080]
            assert diag.destroy(found)
            assert not diag.destroy(found)
            with pytest.raises(ConnectionResetError):
                s.recv(1)


def test_a_handshake_that_is_under_way_is_listed_and_closed(ends):
    """Nobody is at 10.99.0.77 to answer."""
    client, server = ends
    with (
        server.listen(server.v4, 8080),
        closing(diag_in(server)) as diag,
        client.open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw,
    ):
        raw.sendto(syn("10.99.0.77", server.v4, 40000, 8080), (server.v4, 0))
        eventually(lambda: len(diag.dump(*OPEN)) == 1)
        (found,) = diag.dump(*OPEN)
        assert found.state in {TcpState.SYN_RECV, TcpState.NEW_SYN_RECV}
        assert diag.destroy(found)
        assert diag.dump(*OPEN) == []


def test_many_sockets_take_many_messages(ends):
    client, server = ends
    with server.listen(server.v4, 8080, backlog=600), closing(diag_in(server)) as diag:
        clients = [client.open_socket() for _ in range(500)]
        for s in clients:
            s.connect((server.v4, 8080))
        assert len(diag.dump(*OPEN)) == 500
        for s in clients:
            s.close()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_an_open_connection_and_its_bytes(ends, family):
    client, server = ends
    address = server.address(family)
    with (
        server.listen(address, 80) as listener,
        client.open_socket(family) as s,
        closing(diag_in(client)) as diag,
    ):
        s.connect((address, 80))
        accepted, _ = listener.accept()
        with accepted:
            s.sendall(bytes(1000))
            received = 0
            while received < 1000:
                received += len(accepted.recv(1000))
            accepted.sendall(b"x")
            assert s.recv(1) == b"x"
            (one,) = diag.dump(*CONNECTED, counted=True)
            (uncounted,) = diag.dump(*CONNECTED)
    assert one.payload() == (1000, 1)
    assert (uncounted.acked, uncounted.received) == (0, 0)


def test_a_mapped_socket_has_an_ipv4_tuple(ends):
    client, server = ends
    with (
        server.listen(server.v4, 80),
        client.open_socket(socket.AF_INET6) as s,
        closing(diag_in(client)) as diag,
    ):
        s.connect((f"::ffff:{server.v4}", 80))
        (one,) = diag.dump(*CONNECTED)
    assert (one.local, one.remote) == (packed(client.v4), packed(server.v4))


def test_a_connecting_socket_is_among_them(ends):
    client, _server = ends
    with client.open_socket() as s, closing(diag_in(client)) as diag:
        s.setblocking(False)
        s.connect_ex(("10.99.0.77", 80))
        (one,) = diag.dump(*CONNECTED, counted=True)
    assert one.state == TcpState.SYN_SENT
    assert one.payload() == (0, 0)


def test_listeners_and_the_dead_are_not_connected(ends):
    client, server = ends
    with server.listen(server.v4, 80) as listener:
        with client.open_socket() as s:
            s.connect((server.v4, 80))
            accepted, _ = listener.accept()
            s.close()
            assert accepted.recv(1) == b""
            accepted.close()  # leaves TIME_WAIT at the client
        for end in ends:
            with closing(diag_in(end)) as diag:
                assert diag.dump(*CONNECTED) == []


def test_a_question_to_a_closed_one_fails(ends):
    diag = diag_in(ends[0])
    diag.close()
    with pytest.raises(OSError):
        diag.dump(*CONNECTED)


@pytest.mark.parametrize(
    ("state", "acked", "received", "payload"),
    [(1, 1, 0, (0, 0)), (1, 101, 50, (100, 50)), (5, 102, 50, (100, 49)), (2, 0, 0, (0, 0))],
)
def test_payload_is_never_more_than_there_was(state, acked, received, payload):
    counted = Socket(state, b"", 1, b"", 2, socket.AF_INET, b"", 0, acked, received)
    assert counted.payload() == payload


def test_errors_are_the_kernels():
    with pytest.raises(OSError, match="sock_diag: Operation not permitted"):
        raise_error((-1).to_bytes(4, "little", signed=True))
    assert list(messages(b"")) == []


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
