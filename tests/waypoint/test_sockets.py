from __future__ import annotations

import asyncio
import socket

import pytest

from waypoint.cluster_settings import Keepalive
from waypoint.sockets import keep_alive, listen, peer_of, reset, show_address


def test_a_connection_that_the_kernel_knows_nothing_of() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname()):
        accepted, _ = server.accept()
        with accepted:
            assert peer_of(accepted) is None


def test_addresses() -> None:
    assert show_address(("1.2.3.4", 80)) == "1.2.3.4:80"
    assert show_address(("::1", 80, 0, 0)) == "[::1]:80"
    assert show_address(None) == "-"


def test_processes_can_share_a_port_and_families_don_t_mix() -> None:
    with listen(socket.AF_INET, 0, 1) as first:
        port = first.getsockname()[1]
        with listen(socket.AF_INET, port, 1), listen(socket.AF_INET6, port, 1) as six:
            assert six.getsockname()[1] == port
        with socket.socket() as exclusive, pytest.raises(OSError):
            exclusive.bind(("0.0.0.0", port))


async def test_keepalive_is_the_systems_to_do() -> None:
    loop = asyncio.get_running_loop()
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname(), 5) as client:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=client)

        def options() -> list[int]:
            made = transport.get_extra_info("socket")
            return [
                made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
                made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
            ]

        before = options()
        keep_alive(transport, None)
        assert options() == before
        keep_alive(transport, Keepalive(probes=3, time=20))
        assert options() == [1, 3, 20, before[3]]
        transport.abort()
        keep_alive(transport, Keepalive())


async def test_a_reset_is_an_error_at_the_other_end() -> None:
    loop = asyncio.get_running_loop()
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname(), 5) as client:
        accepted, _ = server.accept()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=accepted)
        reset(transport)
        reset(transport)
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(client.recv, 1)
