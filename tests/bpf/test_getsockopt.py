"""The peer query: getsockopt(SOL_TCP, 200) on accepted sockets."""

from __future__ import annotations

import ctypes
import errno
import socket

import pytest

from bpf.layout import Peer, PeerQuery
from tests.bpf.engine import CLIENT, SERVER, Engine, packed, peer
from tests.support.netns import Netns
from ztunnel_compat.names import target_hash
from ztunnel_compat.peer import PEER_QUERY_LEVEL, PEER_QUERY_OPTION, PEER_QUERY_SIZE

V4, V6 = socket.AF_INET, socket.AF_INET6

#: Asks before a byte was sent, then speaks first.
NOBODY = """
import os, socket, sys
address, port = sys.argv[1], int(sys.argv[2])
listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((address, port))
listener.listen()
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print("listening", flush=True)
accepted, _ = listener.accept()
print(accepted.getsockopt(6, 200, 72).hex(), flush=True)
accepted.sendall(b"hello")
accepted.recv(1)
"""


@pytest.fixture(params=[V4, V6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_an_unprivileged_server_that_speaks_first_knows_its_client(
    mesh: Engine, client: Netns, server: Netns, family: int
) -> None:
    mesh.enroll(client)
    address = server.address(family)
    mesh.workload(address)
    with server.popen(["/usr/bin/python3", "-c", NOBODY, address, "8080"]) as serving:
        assert serving.stdout is not None
        assert serving.stdout.readline() == "listening\n"
        with client.open_socket(family) as s:
            s.connect((address, 8080))
            assert s.recv(5) == b"hello"
            told = Peer.unpack(bytes.fromhex(serving.stdout.readline()))
    assert (told.source, told.target) == (CLIENT, target_hash(SERVER, 8080))
    assert (told.original, told.original_port) == (packed(address), 8080)


def test_a_dual_stack_server_knows_its_ipv4_client(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    mesh.enroll(client)
    mesh.workload(server.v4)
    with server.listen("::", 8080) as listener, client.open_socket() as s:
        s.connect((server.v4, 8080))
        accepted, _ = listener.accept()
        with accepted:
            assert peer(accepted).source == CLIENT


def test_clients_of_no_pod_are_unknown(mesh: Engine, client: Netns, server: Netns) -> None:
    mesh.enroll(server)
    mesh.workload(server.v4)
    with server.listen(server.v4, 8080) as listener, client.open_socket() as s:
        s.connect((server.v4, 8080))
        accepted, _ = listener.accept()
        with accepted, pytest.raises(OSError) as refused:
            peer(accepted)
    assert refused.value.errno == errno.ENOPROTOOPT


def test_the_clients_own_end_has_no_answer(mesh: Engine, client: Netns, server: Netns) -> None:
    mesh.enroll(client)
    mesh.workload(server.v4)
    with server.listen(server.v4, 8080) as listener, client.open_socket() as s:
        s.connect((server.v4, 8080))
        with pytest.raises(OSError) as refused:
            peer(s)
        with pytest.raises(OSError):
            peer(listener)
    assert refused.value.errno == errno.ENOPROTOOPT


def test_a_short_buffer_gets_nothing(mesh: Engine, client: Netns, server: Netns) -> None:
    mesh.enroll(client)
    mesh.workload(server.v4)
    with server.listen(server.v4, 8080) as listener, client.open_socket() as s:
        s.connect((server.v4, 8080))
        accepted, _ = listener.accept()
        with accepted:
            with pytest.raises(OSError):
                accepted.getsockopt(PeerQuery.LEVEL, PeerQuery.OPTION, Peer.SIZE - 1)
            assert len(accepted.getsockopt(6, 200, 1024)) == Peer.SIZE


@pytest.mark.parametrize("size", [16, 4096, 4097, 65536])
def test_other_options_are_the_kernels(mesh: Engine, client: Netns, size: int) -> None:
    """Buffers over a page, which the hook can't see whole, included."""
    with client.open_socket() as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        status, value = getsockopt(s, socket.IPPROTO_TCP, socket.TCP_CONGESTION, size)
        assert (status, value.rstrip(b"\0")) == (0, b"cubic")
        assert getsockopt(s, socket.IPPROTO_TCP, 201, size)[0] == errno.ENOPROTOOPT


def getsockopt(s: socket.socket, level: int, option: int, size: int) -> tuple[int, bytes]:
    """getsockopt(2) with a buffer of any size, which Python's socket caps at 1024."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer, length = ctypes.create_string_buffer(size), ctypes.c_uint(size)
    failed = libc.getsockopt(s.fileno(), level, option, buffer, ctypes.byref(length))
    return (ctypes.get_errno() if failed else 0), buffer.raw[: length.value]


def test_both_engines_mean_the_same_query() -> None:
    assert (PEER_QUERY_LEVEL, PEER_QUERY_OPTION) == (PeerQuery.LEVEL, PeerQuery.OPTION)
    assert Peer.SIZE == PEER_QUERY_SIZE
