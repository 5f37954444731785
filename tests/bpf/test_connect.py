"""connect4 and connect6, with real sockets in real network namespaces."""

from __future__ import annotations

import errno
import select
import socket
import time
from collections import Counter as Tally

import pytest

from bpf.layout import Counter, Endpoint, FlowFlag
from tests.bpf.engine import CLIENT, SERVER, SERVICE, WAYPOINT, Engine, packed, peer
from tests.support.netns import Netns
from ztunnel_compat.names import target_hash

VIP4, VIP6 = "10.96.1.1", "fd00:96::1"
V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.fixture(params=["ipv4", "ipv6", "mapped"])
def how(request: pytest.FixtureRequest) -> str:
    """The three ways to call: an IPv4 socket, an IPv6 one, and that with ::ffff:…."""
    return str(request.param)


def open_client(client: Netns, how: str) -> socket.socket:
    return client.open_socket(V4 if how == "ipv4" else V6)


def pick(how: str, v4: str, v6: str) -> str:
    return {"ipv4": v4, "ipv6": v6, "mapped": f"::ffff:{v4}"}[how]


def wire(how: str, where: Netns) -> str:
    """The address that packets carry."""
    return where.v6 if how == "ipv6" else where.v4


def make_service(mesh: Engine, server: Netns, port: int = 8080, waypoint: int = 0) -> None:
    mesh.vip(VIP4, waypoint=waypoint)
    mesh.vip(VIP6, waypoint=waypoint)
    mesh.port(80, [(server.v4, port), (server.v6, port)])


def test_a_service_leads_to_its_endpoint(
    mesh: Engine, client: Netns, server: Netns, how: str
) -> None:
    mesh.enroll(client)
    make_service(mesh, server)
    called = pick(how, VIP4, VIP6)
    with server.listen(wire(how, server), 8080) as listener, open_client(client, how) as s:
        with mesh.counts() as counts:
            s.connect((called, 80))
        accepted, _ = listener.accept()
        with accepted:
            flow = mesh.flow(s, (wire(how, server), 8080))
            assert flow is not None
            assert flow.source == CLIENT
            assert flow.target == target_hash(SERVICE, 80)
            assert flow.original == packed(called)
            assert flow.original_port == 80
            assert flow.flags == FlowFlag.SERVICE
    assert counts == {Counter.CONNECT_SERVICE: 1}


def test_endpoints_share_connections_evenly(mesh: Engine, client: Netns, server: Netns) -> None:
    mesh.enroll(client)
    mesh.vip(VIP4)
    mesh.port(80, [(server.v4, 9000 + n) for n in range(4)])
    seen: Tally[int] = Tally()
    listeners = [server.listen(server.v4, 9000 + n, 1024) for n in range(4)]
    for _ in range(800):
        with client.open_socket() as s:
            s.connect((VIP4, 80))
    for listener in listeners:
        listener.setblocking(False)
        while select.select([listener], [], [], 0)[0]:
            listener.accept()[0].close()
            seen[listener.getsockname()[1]] += 1
        listener.close()
    assert sum(seen.values()) == 800
    assert all(130 < seen[9000 + n] < 270 for n in range(4))


def test_a_workload_is_reached_as_called(
    mesh: Engine, client: Netns, server: Netns, how: str
) -> None:
    mesh.enroll(client)
    mesh.workload(wire(how, server))
    called = pick(how, server.v4, server.v6)
    with server.listen(wire(how, server), 8080), open_client(client, how) as s:
        with mesh.counts() as counts:
            s.connect((called, 8080))
        flow = mesh.flow(s, (wire(how, server), 8080))
        assert flow is not None
        assert (flow.target, flow.flags) == (target_hash(SERVER, 8080), 0)
        assert flow.original == packed(called)
    assert counts == {Counter.CONNECT_DIRECT: 1}


def test_other_destinations_are_reached_as_called(
    mesh: Engine, client: Netns, server: Netns, how: str
) -> None:
    mesh.enroll(client)
    called = pick(how, server.v4, server.v6)
    with server.listen(wire(how, server), 8080), open_client(client, how) as s:
        with mesh.counts() as counts:
            s.connect((called, 8080))
        flow = mesh.flow(s, (wire(how, server), 8080))
        assert flow is not None
        assert (flow.source, flow.target, flow.flags) == (CLIENT, 0, FlowFlag.OUTSIDE)
        assert (flow.original, flow.original_port) == (packed(called), 8080)
    assert counts == {}


def test_namespaces_that_are_not_enrolled_are_left_alone(
    mesh: Engine, client: Netns, server: Netns, how: str
) -> None:
    mesh.enroll(server)
    mesh.vip(wire(how, server))  # with no port: it would be refused
    with server.listen(wire(how, server), 8080), open_client(client, how) as s:
        with mesh.counts() as counts:
            s.connect((pick(how, server.v4, server.v6), 8080))
        assert list(mesh.maps.flows.items()) == []
    assert counts == {}


BINDINGS = ["free", "bound", "device", "bound+device"]


def bind(s: socket.socket, binding: str, own: str) -> None:
    if "device" in binding:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    if "bound" in binding:
        s.bind((own, 0))


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("blocking", [True, False])
def test_refusal_is_immediate_and_leaves_the_socket_usable(
    mesh: Engine, client: Netns, server: Netns, how: str, binding: str, blocking: bool
) -> None:
    client.run(["ip", "route", "replace", "default", "via", server.v4])
    client.run(["ip", "-6", "route", "replace", "default", "via", server.v6])
    mesh.enroll(client)
    make_service(mesh, server)
    mesh.port(80, [])
    with server.listen(wire(how, server), 8080), open_client(client, how) as s:
        bind(s, binding, pick(how, client.v4, client.v6))
        s.settimeout(None)
        s.setblocking(blocking)
        started = time.monotonic()
        with mesh.counts() as counts:
            result = s.connect_ex((pick(how, VIP4, VIP6), 80))
            if result == errno.EINPROGRESS:
                select.select([], [s], [], 5)
                result = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        assert time.monotonic() - started < 0.9  # a SYN that is dropped takes 1 s
        # See refusal6 for the one case that can't be ECONNREFUSED.
        unknown = (how, binding) == ("ipv6", "device")
        assert errno.errorcode[result] == ("ENETUNREACH" if unknown else "ECONNREFUSED")
        assert counts == {Counter.REFUSED_NO_ENDPOINT: 1}
        assert list(mesh.maps.flows.items()) == []

        s.settimeout(5)
        if s.connect_ex((pick(how, server.v4, server.v6), 8080)) == errno.ECONNABORTED:
            s.connect((pick(how, server.v4, server.v6), 8080))
        assert s.getpeername()[1] == 8080


@pytest.mark.parametrize("port", [81, 0, 65535])
def test_a_port_the_service_does_not_have_is_refused(
    mesh: Engine, client: Netns, server: Netns, how: str, port: int
) -> None:
    mesh.enroll(client)
    make_service(mesh, server)
    mesh.port(0, [(server.v4, 15088), (server.v6, 15088)])
    with (
        open_client(client, how) as s,
        mesh.counts() as counts,
        pytest.raises(ConnectionRefusedError),
    ):
        s.connect((pick(how, VIP4, VIP6), port))
    assert counts == {Counter.REFUSED_NO_PORT: 1}


def test_families_do_not_mix(mesh: Engine, client: Netns, server: Netns) -> None:
    mesh.enroll(client)
    mesh.vip(VIP4)
    mesh.vip(VIP6)
    mesh.port(80, [(server.v6, 8080)])
    with (
        client.open_socket(V4) as s,
        mesh.counts() as counts,
        pytest.raises(ConnectionRefusedError),
    ):
        s.connect((VIP4, 80))
    assert counts == {Counter.REFUSED_NO_ENDPOINT: 1}


def test_an_endpoint_of_another_family_is_nowhere_to_go(
    mesh: Engine, client: Netns, server: Netns, how: str
) -> None:
    """A record that breaks the contract: half of an address must not be called."""
    mesh.enroll(client)
    make_service(mesh, server)
    wrong = server.v4 if how == "ipv6" else server.v6
    for key, _endpoint in list(mesh.maps.endpoints.items()):
        mesh.maps.endpoints.put(key, Endpoint(packed(wrong), 8080))
    with (
        open_client(client, how) as s,
        mesh.counts() as counts,
        pytest.raises(ConnectionRefusedError),
    ):
        s.connect((pick(how, VIP4, VIP6), 80))
    assert counts == {Counter.REFUSED_NO_ENDPOINT: 1}


def test_a_service_with_a_waypoint_leads_to_it(
    mesh: Engine, client: Netns, server: Netns, waypoint: Netns, how: str
) -> None:
    mesh.enroll(client)
    make_service(mesh, server, waypoint=WAYPOINT)
    mesh.port(0, [(waypoint.v4, 15088), (waypoint.v6, 15088)], WAYPOINT)
    called = pick(how, VIP4, VIP6)
    with (
        waypoint.listen(wire(how, waypoint), 15088) as listener,
        open_client(client, how) as s,
        mesh.counts() as counts,
    ):
        s.connect((called, 80))
        accepted, _ = listener.accept()
        with accepted:
            told = peer(accepted)
    assert (told.source, told.target) == (CLIENT, target_hash(SERVICE, 80))
    assert (told.original, told.original_port) == (packed(called), 80)
    assert told.flags == FlowFlag.WAYPOINT | FlowFlag.SERVICE
    assert counts == {Counter.CONNECT_WAYPOINT: 1}


def test_a_workload_with_a_waypoint_leads_to_it(
    mesh: Engine, client: Netns, server: Netns, waypoint: Netns, how: str
) -> None:
    mesh.enroll(client)
    mesh.workload(wire(how, server), waypoint=WAYPOINT)
    mesh.port(0, [(waypoint.v4, 15088), (waypoint.v6, 15088)], WAYPOINT)
    with (
        waypoint.listen(wire(how, waypoint), 15088) as listener,
        open_client(client, how) as s,
    ):
        s.connect((pick(how, server.v4, server.v6), 8080))
        accepted, _ = listener.accept()
        with accepted:
            told = peer(accepted)
    assert (told.target, told.flags) == (target_hash(SERVER, 8080), FlowFlag.WAYPOINT)


def test_a_waypoint_is_not_led_to_itself(
    mesh: Engine, client: Netns, server: Netns, how: str
) -> None:
    mesh.enroll(client, WAYPOINT, waypoint=WAYPOINT)
    make_service(mesh, server, waypoint=WAYPOINT)
    mesh.workload(wire(how, server), waypoint=WAYPOINT)
    with server.listen(wire(how, server), 8080):
        for called, port in (
            (pick(how, VIP4, VIP6), 80),
            (pick(how, server.v4, server.v6), 8080),
        ):
            with open_client(client, how) as s:
                s.connect((called, port))
                flow = mesh.flow(s, (wire(how, server), 8080))
                assert flow is not None
                assert not flow.flags & FlowFlag.WAYPOINT


@pytest.mark.parametrize("record", ["missing", "empty"])
def test_without_its_waypoint_a_service_is_refused(
    mesh: Engine, client: Netns, server: Netns, how: str, record: str
) -> None:
    mesh.enroll(client)
    make_service(mesh, server, waypoint=WAYPOINT)
    if record == "empty":
        mesh.port(0, [], WAYPOINT)
    with (
        server.listen(wire(how, server), 8080),
        open_client(client, how) as s,
        mesh.counts() as counts,
        pytest.raises(ConnectionRefusedError),
    ):
        s.connect((pick(how, VIP4, VIP6), 80))
    assert counts == {Counter.REFUSED_NO_WAYPOINT: 1}


STORM = """
import socket, sys
vip, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
import time
end, made = time.monotonic() + seconds, 0
while time.monotonic() < end:
    with socket.create_connection((vip, port), 5) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
        assert s.recv(1) == b"A", "another service's endpoint"
        made += 1
print(made)
"""
SERVE = """
import socket, sys, threading
def serve(port, word):
    listener = socket.create_server(("0.0.0.0", port), backlog=1024)
    print(port, flush=True)
    while True:
        s, _ = listener.accept()
        try: s.sendall(word); s.close()
        except OSError: pass
threads = [threading.Thread(target=serve, args=(p, w), daemon=True)
           for p, w in ((8001, b"A"), (8002, b"A"), (8003, b"B"))]
for t in threads: t.start()
sys.stdin.read()
"""


def test_a_push_in_a_storm_of_connects_fails_none(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    """Sets are swapped as fast as they go; freed entries are reused by a service B."""
    mesh.enroll(client)
    mesh.vip(VIP4)
    mesh.port(80, [(server.v4, 8001)])
    with server.popen(["/usr/bin/python3", "-c", SERVE]) as serving:
        assert serving.stdout is not None
        for _ in range(3):
            serving.stdout.readline()
        command = ["/usr/bin/python3", "-c", STORM, VIP4, "80", "2"]
        with client.popen(command) as storm:
            swaps = 0
            while storm.poll() is None:
                swaps += 1
                mesh.port(80, [(server.v4, 8001 + swaps % 2)] * (1 + swaps % 5))
                mesh.port(99, [(server.v4, 8003)] * 5, name=SERVICE + 1)
            out, err = storm.communicate()
        assert storm.returncode == 0, err
        serving.communicate()
    assert int(out) > 500
    assert swaps > 500
