"""Which established connections a policy closes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bpf.addresses import mapped
from bpf.errors import NetnsError
from bpf.layout import Flow, FlowFlag, FlowKey, TunnelPort
from bpf.maps import Maps
from daemon.policies.enforce import Closed, Rules, close_denied
from daemon.policies.identities import identity_hash
from tests.support.netns import Netns, pair
from tests.ztunnel_compat.policies import exact, policy, when
from ztunnel_compat.identity import Identity
from ztunnel_compat.rbac import Connection, Decision, Reason

WEB = Identity("td", "app", "web")
OTHER = Identity("td", "other", "web")
BY_HASH = {identity_hash(identity): identity for identity in (WEB, OTHER)}
ALLOW_APP = policy("allow-app", when(namespaces=(exact("app"),)))
ALLOW_NOBODY = policy("allow-nobody")


@pytest.fixture(scope="module")
def ends() -> Iterator[tuple[Netns, Netns]]:
    with pair() as made:
        yield made


class Connections:
    """Connections from a client to a server, and what the kernel would know of them."""

    def __init__(self, client: Netns, server: Netns, stack: ExitStack) -> None:
        self.client, self.server, self.stack = client, server, stack
        self.flows = Maps.memory().flows
        self.listener = stack.enter_context(server.listen(server.v4, 8080))

    def open(self, flow: Flow | None) -> tuple[socket.socket, socket.socket]:
        made = self.stack.enter_context(self.client.open_socket())
        made.connect((self.server.v4, 8080))
        accepted = self.stack.enter_context(self.listener.accept()[0])
        if flow is not None:
            self.flows.put(self.key(made), flow)
        return made, accepted

    def key(self, made: socket.socket) -> FlowKey:
        return FlowKey(
            mapped(socket.inet_aton(made.getsockname()[0])),
            mapped(socket.inet_aton(made.getpeername()[0])),
            made.getsockname()[1],
            made.getpeername()[1],
        )

    def enforce(self, *policies, port: int = 0, netns: Netns | None = None) -> list[Closed]:
        rules = Rules(policies, BY_HASH.get, port)
        return close_denied((netns or self.server).fd, self.flows, rules)


@pytest.fixture
def connections(ends) -> Iterator[Connections]:
    with ExitStack() as stack:
        yield Connections(*ends, stack)


def alive(made: tuple[socket.socket, socket.socket]) -> bool:
    try:
        made[0].sendall(b"x")
        return made[1].recv(1) == b"x"
    except OSError:
        return False


def test_only_the_denied_are_closed(connections: Connections):
    web = connections.open(Flow(identity=identity_hash(WEB)))
    other = connections.open(Flow(identity=identity_hash(OTHER)))
    nobody = connections.open(None)
    stranger = connections.open(Flow(identity=77))
    closed = connections.enforce(ALLOW_APP)
    assert [alive(one) for one in (web, other, nobody, stranger)] == [True, False, False, False]
    assert {one.connection.identity for one in closed} == {OTHER, None}
    assert {one.decision for one in closed} == {Decision(False, Reason.NOT_ALLOWED)}
    assert connections.enforce(ALLOW_APP) == []


def test_the_text_names_everything():
    source, target = socket.inet_aton("10.0.0.1"), socket.inet_aton("10.0.0.2")
    denied = Decision(False, Reason.DENIED, "app/deny")
    assert str(Closed(Connection(OTHER, source, target, 80), 4000, denied)) == (
        f"connection of {OTHER} from 10.0.0.1 4000 to 10.0.0.2 80 closed: "
        "denied by policy app/deny"
    )
    assert str(
        Closed(Connection(None, source, target, 80), 4000, Decision(False, Reason.NOT_ALLOWED))
    ).startswith("connection of nobody known from")


def test_probes_and_the_identity_port_are_left_alone(connections: Connections):
    probe = connections.open(Flow(flags=FlowFlag.PROBE))
    assert connections.enforce(ALLOW_NOBODY) == []
    assert alive(probe)
    other = connections.open(None)
    assert connections.enforce(ALLOW_NOBODY, port=8080) == []
    assert alive(other)


def test_what_a_pod_opened_itself_is_left_alone(connections: Connections):
    """Also from a port that it listens on."""
    outbound = connections.open(Flow(identity=identity_hash(WEB)))
    before_enrolment = connections.open(None)
    port = outbound[0].getsockname()[1]
    with connections.client.open_socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        outbound[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((connections.client.v4, port))
        listener.listen()
        assert connections.enforce(ALLOW_NOBODY, netns=connections.client) == []
    assert alive(outbound)
    assert alive(before_enrolment)


def test_what_a_client_left_behind_can_be_read(connections: Connections):
    made, accepted = connections.open(Flow(identity=identity_hash(OTHER)))
    made.sendall(b"last words")
    connections.flows.delete(connections.key(made))
    made.close()
    accepted.settimeout(5)
    assert connections.enforce(ALLOW_NOBODY) == []
    assert accepted.recv(100) == b"last words"
    assert accepted.recv(100) == b""


def test_a_half_closed_connection_that_is_denied_is_closed(connections: Connections):
    made, accepted = connections.open(Flow(identity=identity_hash(OTHER)))
    made.shutdown(socket.SHUT_WR)
    assert accepted.recv(1) == b""
    assert len(connections.enforce(ALLOW_APP)) == 1
    with pytest.raises(ConnectionResetError):
        made.recv(1)


def test_loopback_is_left_alone(connections: Connections):
    server = connections.server
    with server.listen("127.0.0.1", 9090) as listener, server.open_socket() as made:
        made.connect(("127.0.0.1", 9090))
        accepted, _ = listener.accept()
        with accepted:
            assert connections.enforce(ALLOW_NOBODY) == []
            assert alive((made, accepted))


def test_what_is_no_netns_is_told(connections: Connections):
    with open("/dev/null") as nothing, pytest.raises(NetnsError):  # noqa: PTH123
        close_denied(nothing.fileno(), connections.flows, Rules((), BY_HASH.get))


def test_what_comes_by_hbone_is_its_ends_to_judge(connections: Connections):
    brought = connections.open(Flow(identity=identity_hash(OTHER), flags=FlowFlag.TUNNELLED))
    assert connections.enforce(ALLOW_NOBODY) == []
    assert alive(brought)


def test_hbone_itself_is_left_alone(connections: Connections):
    tunnels = connections.server.listen(connections.server.v4, TunnelPort.HBONE)
    connections.listener = connections.stack.enter_context(tunnels)
    made = connections.stack.enter_context(connections.client.open_socket())
    made.connect((connections.server.v4, TunnelPort.HBONE))
    accepted = connections.stack.enter_context(tunnels.accept()[0])
    assert connections.enforce(ALLOW_NOBODY) == []
    assert alive((made, accepted))
