"""balance.h: weights, client affinity and least connections, as connects see them."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from bpf.knobs import Knobs
from bpf.layout import ActiveKey, AddressFlag, Counter, Flow, FlowFlag, FlowKey, StickyKind
from tests.bpf.engine import CLIENT, SERVICE, Engine, engine, eventually, packed
from tests.support.netns import Netns

VIP = "10.96.1.1"
PORTS = tuple(range(9000, 9004))
SECOND = 10**9
#: Chi-square for two degrees of freedom is above this once in 10^9 times.
CHI_SQUARE_2 = 41.4


@pytest.fixture
def listeners(server: Netns) -> Iterator[None]:
    """Someone who takes connections at each endpoint."""
    with contextlib.ExitStack() as stack:
        for port in PORTS:
            stack.enter_context(server.listen(server.v4, port, 4096))
        yield


def endpoints(server: Netns, ports: Sequence[int] = PORTS) -> list[tuple[str, int]]:
    return [(server.v4, port) for port in ports]


def landed(mesh: Engine, s: socket.socket) -> int:
    """The port of the endpoint that a connected socket was led to."""
    own = s.getsockname()[1]
    return next(k.destination_port for k, _ in mesh.maps.flows.items() if k.source_port == own)


def call(mesh: Engine, client: Netns) -> int:
    """Connect once; the port of the endpoint."""
    with client.open_socket() as s:
        s.connect((VIP, 80))
        return landed(mesh, s)


@pytest.mark.usefixtures("listeners")
@pytest.mark.parametrize("weights", [(1, 2, 5), (1, 1, 1), (0, 3, 1)])
def test_endpoints_are_chosen_by_weight(
    mesh: Engine, client: Netns, server: Netns, weights: tuple[int, ...]
) -> None:
    mesh.enroll(client)
    mesh.vip(VIP)
    mesh.port(80, endpoints(server, PORTS[:3]), weights=weights)
    seen = Tally(call(mesh, client) for _ in range(800))
    wanted = {port: 800 * w / sum(weights) for port, w in zip(PORTS, weights, strict=False)}
    assert all(seen[port] == 0 for port, number in wanted.items() if number == 0)
    square = sum((seen[port] - n) ** 2 / n for port, n in wanted.items() if n)
    assert square < CHI_SQUARE_2


@pytest.mark.usefixtures("listeners")
def test_a_client_keeps_its_endpoint(mesh: Engine, client: Netns, server: Netns) -> None:
    mesh.enroll(client)
    mesh.vip(VIP, affinity=60)
    mesh.port(80, endpoints(server))
    kept = call(mesh, client)
    assert {call(mesh, client) for _ in range(20)} == {kept}


@pytest.mark.usefixtures("listeners")
def test_affinity_is_the_clients_own(mesh: Engine, client: Netns, server: Netns) -> None:
    """30 clients don't agree on one of four endpoints."""
    mesh.vip(VIP, affinity=60)
    mesh.port(80, endpoints(server))
    seen = set()
    for number in range(30):
        mesh.enroll(client, CLIENT + number)
        seen.add(call(mesh, client))
    assert len(seen) > 1


@pytest.mark.usefixtures("listeners")
def test_an_endpoint_is_kept_over_generations(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    """Other endpoints come and go on both sides of it in the set's order."""
    mesh.enroll(client)
    mesh.vip(VIP, affinity=60)
    mesh.port(80, endpoints(server))
    kept = call(mesh, client)
    others = [port for port in PORTS if port != kept]
    for chosen in ([], others[:1], others[1:], [1, 2, 3, *others], [65000, 65001], others):
        mesh.port(80, endpoints(server, [*chosen, kept]))
        assert {call(mesh, client) for _ in range(3)} == {kept}
        ((_key, entry),) = mesh.maps.sticky.items()
        assert entry.generation == mesh.sets[SERVICE, 80, 4].generation


@pytest.mark.usefixtures("listeners")
def test_an_endpoint_that_is_gone_is_left_and_another_kept(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    mesh.enroll(client)
    mesh.vip(VIP, affinity=60)
    mesh.port(80, endpoints(server))
    gone = call(mesh, client)
    mesh.port(80, endpoints(server, [port for port in PORTS if port != gone]))
    kept = call(mesh, client)
    assert kept != gone
    mesh.port(80, endpoints(server))
    assert {call(mesh, client) for _ in range(20)} == {kept}


@pytest.mark.usefixtures("listeners")
def test_affinity_ends_with_its_time_and_each_use_begins_it_anew(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    mesh.enroll(client)
    mesh.vip(VIP, affinity=60)
    mesh.port(80, endpoints(server))
    call(mesh, client)

    def aged(seconds: int) -> int:
        ((key, entry),) = mesh.maps.sticky.items()
        mesh.maps.sticky.put(key, replace(entry, used=entry.used - seconds * SECOND))
        return call(mesh, client)

    kept = aged(50)
    assert {aged(50) for _ in range(20)} == {kept}
    assert len({aged(61) for _ in range(40)}) > 1


@pytest.mark.usefixtures("listeners")
def test_an_entry_that_is_not_whole_is_not_believed(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    """As when its memory came to hold another's between the lookup and the copy."""
    mesh.enroll(client)
    mesh.vip(VIP, affinity=60)
    mesh.port(80, endpoints(server, PORTS[:1]))
    call(mesh, client)
    ((key, entry),) = mesh.maps.sticky.items()
    assert key.kind == StickyKind.TCP
    mesh.maps.sticky.put(key, replace(entry, port=PORTS[1]))
    assert call(mesh, client) == PORTS[0]


@pytest.mark.usefixtures("listeners")
def test_a_service_without_affinity_leaves_no_entry(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    mesh.enroll(client)
    mesh.vip(VIP)
    mesh.port(80, endpoints(server))
    call(mesh, client)
    assert list(mesh.maps.sticky.items()) == []


def least(mesh: Engine, server: Netns, weights: Sequence[int] = ()) -> None:
    mesh.vip(VIP, flags=AddressFlag.LEAST_CONNECTIONS)
    mesh.port(80, endpoints(server, PORTS[:2]), weights=weights)


def place_of(server: Netns, port: int) -> ActiveKey:
    return ActiveKey(packed(server.v4), port)


@pytest.mark.usefixtures("listeners")
@pytest.mark.parametrize("weights", [(), (9, 1)])
def test_the_less_busy_of_two_is_chosen(
    mesh: Engine, client: Netns, server: Netns, weights: tuple[int, ...]
) -> None:
    mesh.enroll(client)
    least(mesh, server, weights)
    mesh.active.put(place_of(server, PORTS[0]), 1000)
    seen = Tally(call(mesh, client) for _ in range(60))
    # Eight draws of the busy one in a row: once in 256 choices, or in 2.3.
    assert seen[PORTS[1]] > (50 if not weights else 10)


@pytest.mark.usefixtures("listeners")
def test_open_connections_are_counted_and_given_back(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    mesh.enroll(client)
    least(mesh, server)
    with contextlib.ExitStack() as stack:
        where: Tally[int] = Tally()
        for _ in range(40):
            s = stack.enter_context(client.open_socket())
            s.connect((VIP, 80))
            where[landed(mesh, s)] += 1
        counted = {key.port: open_ for key, open_ in mesh.active.items()}
        assert counted == dict(where)
        assert abs(where[PORTS[0]] - where[PORTS[1]]) <= 4
        assert all(f.flags & FlowFlag.COUNTED for _, f in mesh.maps.flows.items())
    eventually(lambda: not list(mesh.active.items()))


def test_a_connection_that_fails_is_given_back(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    mesh.enroll(client)
    least(mesh, server)
    with client.open_socket() as s:
        assert s.connect_ex((VIP, 80)) == errno.ECONNREFUSED
    eventually(lambda: not list(mesh.active.items()))


@pytest.mark.usefixtures("listeners")
def test_a_flow_that_is_replaced_is_given_back(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    """One whose end nobody saw, as when its namespace went with its sockets."""
    mesh.enroll(client)
    mesh.vip(VIP, flags=AddressFlag.LEAST_CONNECTIONS)
    mesh.port(80, endpoints(server, PORTS[:1]))
    key = FlowKey(packed(client.v4), packed(server.v4), 33333, PORTS[0])
    mesh.maps.flows.put(key, Flow(source=CLIENT, flags=FlowFlag.COUNTED))
    mesh.active.put(place_of(server, PORTS[0]), 1)
    with client.open_socket() as s:
        s.bind((client.v4, 33333))
        s.connect((VIP, 80))
        assert mesh.active.get(place_of(server, PORTS[0])) == 1
        flow = mesh.maps.flows.get(key)
        assert flow is not None
        assert flow.target != 0
    eventually(lambda: not list(mesh.active.items()))


@pytest.mark.usefixtures("listeners")
def test_without_room_connections_are_not_counted(client: Netns, server: Netns) -> None:
    """No room in active: a flow that isn't counted; none for the flow: no count."""
    small = {"flows": 1, "flow_slots": 1, "active": 1}
    sizes = Knobs(pods=8, addresses=8, ports=8, endpoints=64, pending=8, **small)
    with engine("uncounted", sizes) as mesh, contextlib.ExitStack() as stack:
        mesh.enroll(client)
        least(mesh, server)
        mesh.active.put(place_of(server, 1), 7)
        for _ in range(2):
            stack.enter_context(client.open_socket()).connect((VIP, 80))
        assert [flow.flags & FlowFlag.COUNTED for _, flow in mesh.maps.flows.items()] == [0, 0]
        assert list(mesh.active.items()) == [(place_of(server, 1), 7)]
        mesh.active.delete(place_of(server, 1))
        with mesh.counts() as counts:
            stack.enter_context(client.open_socket()).connect((VIP, 80))
        assert counts[Counter.FLOW_TABLE_FULL] == 1
        assert list(mesh.active.items()) == []


@pytest.mark.usefixtures("listeners")
def test_other_services_are_not_counted(mesh: Engine, client: Netns, server: Netns) -> None:
    mesh.enroll(client)
    mesh.vip(VIP)
    mesh.port(80, endpoints(server))
    with client.open_socket() as s:
        s.connect((VIP, 80))
        assert list(mesh.active.items()) == []
