"""The hand-over from connect() to a SYN that leaves later."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bpf.layout import Counter
from tests.bpf.engine import CLIENT, SMALL, Engine, engine, packed, peer
from tests.support.netns import Netns
from ztunnel_compat.names import target_hash

TCP_FASTOPEN_CONNECT = 30
VIP, OTHER, WAITING = "10.96.1.1", 0x07E4, 4


@pytest.fixture
def mesh(client: Netns, server: Netns) -> Iterator[Engine]:
    """One slot for all sockets; room for a few that wait."""
    sizes = replace(SMALL, pending=1, waiting=WAITING)
    client.sysctl("net/ipv4/tcp_fastopen", "5")  # client; needs no cookie
    with engine("pending", sizes) as made:
        made.enroll(client)
        made.workload(server.v4)
        made.vip(VIP, OTHER)
        made.port(80, [(server.v4, 8080)], OTHER)
        yield made
    client.sysctl("net/ipv4/tcp_fastopen", "1")


def later(client: Netns) -> socket.socket:
    """A socket whose connect() has returned before its SYN left."""
    s = client.open_socket()
    s.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    s.connect((VIP, 80))
    return s


def test_who_waits_for_its_first_data_keeps_its_slot(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    with (
        server.listen(server.v4, 8080) as listener,
        mesh.counts() as counts,
        contextlib.ExitStack() as stack,
    ):
        waiting = [stack.enter_context(later(client)) for _ in range(2)]
        for _ in range(3):
            with client.open_socket() as s:
                s.connect((server.v4, 8080))
                listener.accept()[0].close()
        for s in waiting:
            assert list(mesh.maps.flows.items()) == []
            s.sendall(b"x")
            with listener.accept()[0] as accepted:
                told = peer(accepted)
                assert (told.source, told.target) == (CLIENT, target_hash(OTHER, 80))
                assert (told.original, told.original_port) == (packed(VIP), 80)
                assert s.getpeername() == (VIP, 80)
            s.close()
    assert Counter.PENDING_LOST not in counts


def test_who_waits_too_long_among_too_many_is_counted(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    """Who it is stands; what for is lost, which a waypoint refuses."""
    with (
        server.listen(server.v4, 8080) as listener,
        mesh.counts() as counts,
        contextlib.ExitStack() as stack,
    ):
        first = stack.enter_context(later(client))
        for _ in range(64 * WAITING):
            stack.enter_context(later(client))
        first.sendall(b"x")
        with listener.accept()[0] as accepted:
            told = peer(accepted)
    assert (told.source, told.target) == (CLIENT, 0)
    assert counts[Counter.PENDING_LOST] == 1
