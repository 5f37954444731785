"""caller.h: processes that are enrolled by their cgroup, in a netns that is not."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpf.layout import Counter, Flow, FlowFlag, Pod
from tests.bpf.engine import CLIENT, SERVICE, Engine, eventually, join, removed
from tests.support.netns import Netns
from ztunnel_compat.names import target_hash

VIP = "10.96.1.1"
MEMBER, NEAREST, IDENTITY = 0x3E3BE4, 0x4EA4E57, 0x1DE471
EVERYWHERE = 0xFFFFFFFF
TCP_FASTOPEN_CONNECT = 30


@pytest.fixture
def unit(mesh: Engine, server: Netns) -> Iterator[Path]:
    """An enrolled cgroup below the engine's, with a service to call."""
    with cgroup(mesh.place.cgroup / "unit") as made:
        enrol(mesh, made, MEMBER)
        mesh.vip(VIP)
        mesh.port(80, [(server.v4, 8080)])
        yield made


@contextlib.contextmanager
def cgroup(path: Path) -> Iterator[Path]:
    path.mkdir()
    try:
        yield path
    finally:
        eventually(lambda: removed(path))


@contextlib.contextmanager
def within(mesh: Engine, path: Path) -> Iterator[None]:
    """This process is in a cgroup."""
    join(path)
    try:
        yield
    finally:
        join(mesh.place.cgroup)


def enrol(mesh: Engine, path: Path, workload: int) -> None:
    mesh.maps.members.put(path.stat().st_ino, Pod(workload, identity=IDENTITY))
    mesh.maps.member_levels.put(0, EVERYWHERE)


def flow_of(mesh: Engine, s: socket.socket, server: Netns) -> Flow | None:
    return mesh.flow(s, (server.v4, 8080))


def test_a_member_is_led_and_known(
    mesh: Engine, client: Netns, server: Netns, unit: Path
) -> None:
    with server.listen(server.v4, 8080), within(mesh, unit), client.open_socket() as s:
        s.connect((VIP, 80))
        assert s.getpeername() == (VIP, 80)
        flow = flow_of(mesh, s, server)
    assert flow is not None
    assert (flow.source, flow.identity) == (MEMBER, IDENTITY)
    assert (flow.target, flow.flags) == (target_hash(SERVICE, 80), FlowFlag.SERVICE)
    eventually(lambda: not list(mesh.maps.flows.items()))


def test_children_belong_to_the_nearest_enrolled_ancestor(
    mesh: Engine, client: Netns, server: Netns, unit: Path
) -> None:
    with (
        server.listen(server.v4, 8080),
        cgroup(unit / "child") as child,
        cgroup(child / "grandchild") as grandchild,
        within(mesh, grandchild),
    ):
        for expected in (MEMBER, NEAREST):
            with client.open_socket() as s:
                s.connect((VIP, 80))
                flow = flow_of(mesh, s, server)
            assert flow is not None
            assert flow.source == expected
            enrol(mesh, child, NEAREST)


def test_members_send_datagrams_to_services(
    mesh: Engine, client: Netns, server: Netns, unit: Path
) -> None:
    with (
        server.open_socket(kind=socket.SOCK_DGRAM) as served,
        within(mesh, unit),
        client.open_socket(kind=socket.SOCK_DGRAM) as s,
    ):
        served.bind((server.v4, 8080))
        s.sendto(b"x", (VIP, 80))
        data, sender = served.recvfrom(10)
        served.sendto(data, sender)
        assert s.recvfrom(10) == (b"x", (VIP, 80))


def test_a_pods_own_namespace_says_who_it_is(
    mesh: Engine, client: Netns, server: Netns, unit: Path
) -> None:
    mesh.enroll(client)
    with server.listen(server.v4, 8080), within(mesh, unit), client.open_socket() as s:
        s.connect((VIP, 80))
        flow = flow_of(mesh, s, server)
    assert flow is not None
    assert flow.source == CLIENT


def test_others_are_left_alone(mesh: Engine, client: Netns, server: Netns, unit: Path) -> None:
    """Beside the enrolled cgroup, and above it."""
    mesh.vip(server.v4)  # with no port 8080: an enrolled caller would be refused
    with server.listen(server.v4, 8080), cgroup(mesh.place.cgroup / "beside") as beside:
        for where in (beside, mesh.place.cgroup):
            with (
                within(mesh, where),
                client.open_socket() as s,
                mesh.counts() as counts,
            ):
                s.connect((server.v4, 8080))
                assert flow_of(mesh, s, server) is None
            assert counts == {}


def test_only_levels_with_members_are_looked_at(
    mesh: Engine, client: Netns, server: Netns, unit: Path
) -> None:
    """No level: nobody is a member. Of all single levels, one is the cgroup's."""
    found = []
    with server.listen(server.v4, 8080), within(mesh, unit):
        for level in (None, *range(32)):
            mesh.maps.member_levels.put(0, 0 if level is None else 1 << level)
            with client.open_socket() as s, contextlib.suppress(OSError):
                s.setblocking(False)
                s.connect_ex((VIP, 80))
                if any(flow.source == MEMBER for _, flow in mesh.maps.flows.items()):
                    found.append(level)
            eventually(lambda: not list(mesh.maps.flows.items()))
    assert len(found) == 1
    assert found[0] is not None


def test_a_socket_that_a_member_used_lends_nobody_its_identity(
    mesh: Engine, client: Netns, server: Netns, unit: Path
) -> None:
    """The member's connect() failed before its SYN; then another uses the socket."""
    client.run(["ip", "route", "replace", "unreachable", "203.0.113.0/24"])
    with server.listen(server.v4, 8080), client.open_socket() as s:
        with within(mesh, unit):
            assert s.connect_ex(("203.0.113.1", 80)) in {errno.EHOSTUNREACH, errno.ENETUNREACH}
        s.connect((server.v4, 8080))
        assert list(mesh.maps.flows.items()) == []


@pytest.mark.parametrize("member_connects", [True, False])
def test_who_calls_connect_counts_not_who_sends(
    mesh: Engine, client: Netns, server: Netns, unit: Path, member_connects: bool
) -> None:
    """With Fast Open the SYN leaves with the first data, which another may send."""
    client.sysctl("net/ipv4/tcp_fastopen", "5")
    try:
        with server.listen(server.v4, 8080), client.open_socket() as s:
            s.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
            first, second = (unit, mesh.place.cgroup)[:: 1 if member_connects else -1]
            with within(mesh, first):
                s.connect((server.v4, 8080))
            with within(mesh, second):
                s.sendall(b"x")
            sources = [flow.source for _, flow in mesh.maps.flows.items()]
    finally:
        client.sysctl("net/ipv4/tcp_fastopen", "1")
    assert sources == ([MEMBER] if member_connects else [])


def test_a_member_that_left_the_mesh_before_its_syn_is_nobody(
    mesh: Engine, client: Netns, server: Netns, unit: Path
) -> None:
    client.sysctl("net/ipv4/tcp_fastopen", "5")
    try:
        with server.listen(server.v4, 8080), client.open_socket() as s, within(mesh, unit):
            s.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
            s.connect((server.v4, 8080))
            mesh.maps.members.delete(unit.stat().st_ino)
            s.sendall(b"x")
            assert list(mesh.maps.flows.items()) == []
    finally:
        client.sysctl("net/ipv4/tcp_fastopen", "1")


def test_a_members_refusal_is_as_a_pods(mesh: Engine, client: Netns, unit: Path) -> None:
    with within(mesh, unit), client.open_socket() as s, mesh.counts() as counts:
        assert s.connect_ex((VIP, 81)) == errno.ECONNREFUSED
    assert counts == {Counter.REFUSED_NO_PORT: 1}
