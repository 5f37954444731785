"""From the control plane's resources to where connections arrive, in a real kernel.

Decoded values on one side, sockets on the other; all that is between is the node
agent's own: content, operations, maps, hooks.
"""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from bpf.links import attach_pod
from bpf.netns import in_netns
from daemon.desired import Desired
from daemon.program import Programmer, dump
from daemon.reconcile import reconcile
from daemon.scope import Scope
from tests.bpf.engine import SMALL, Engine, engine
from tests.daemon.meshes import HERE, balanced, by_name, push, service, uid_of, workload
from tests.support.netns import Netns, pair
from ztunnel_compat.model import Service, Workload
from ztunnel_compat.state import WorkloadState

WEB = ("web",)
SAMPLES = 400


class Node:
    """A client's pod in namespace app; all other addresses are another's."""

    def __init__(self, programmer: Programmer, client: Netns) -> None:
        self.programmer = programmer
        self.client = client
        self.state = WorkloadState()
        self.desired = Desired(self.state, HERE, {})

    def knows(self, *resources: Service | Workload, gone: tuple[str, ...] = ()) -> None:
        """Take a push in."""
        scope = Scope()
        self.desired.enroll(self.client.cookie, uid_of("client"), scope)
        scope.add(push(self.state, self.desired, *resources, gone=gone))
        for group in reconcile(self.programmer.programmed, self.desired.content, scope):
            self.programmer.apply(group)

    def reach(self, address: str, port: int) -> tuple[str, int] | None:
        """Which real address and port a connect comes to; None: refused."""
        with in_netns(self.client.fd):
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        with sock:
            sock.settimeout(5)
            try:
                sock.connect((address, port))
            except ConnectionRefusedError:
                return None
            host, _, number = sock.recv(100).decode().rpartition(" ")
            return host, int(number)


@pytest.fixture(scope="module")
def loaded() -> Iterator[Engine]:
    with engine("resources", SMALL) as made:
        yield made


@pytest.fixture
def node(loaded: Engine) -> Iterator[Node]:
    with contextlib.ExitStack() as stack:
        client, server = stack.enter_context(pair())
        for block in ("10.240.0.0/12", "10.96.0.0/12", "fd00::/16"):
            server.run(["ip", "route", "add", "local", block, "dev", "lo"])
            via = server.v6 if ":" in block else server.v4
            client.run(["ip", "route", "add", block, "via", via])
        for port in ("8080", "9090"):
            answering = server.popen(["/usr/bin/python3", "-c", ANSWER, port])
            stack.callback(answering.communicate)
            stack.callback(answering.kill)
            assert answering.stdout is not None
            assert answering.stdout.readline()
        attach_pod(loaded.place.pin_dir, f"test/{client.cookie}", client.fd)
        loaded.clear()
        yield Node(Programmer(loaded.maps, dump(loaded.maps)), client)


#: Tells everybody which address and port they came to.
ANSWER = """
import socket, sys
listener = socket.create_server(
    ("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
)
print("listening", flush=True)
while True:
    sock, _ = listener.accept()
    host, port = sock.getsockname()[:2]
    sock.sendall(f"{host.removeprefix('::ffff:')} {port}".encode())
    sock.close()
"""


def test_weights_are_what_the_capacities_say(node: Node) -> None:
    node.knows(
        service("web", "10.96.0.1"),
        workload("a", "10.240.0.1", of=WEB, capacity=1),
        workload("b", "10.240.0.2", of=WEB, capacity=3),
        workload("c", "10.240.0.3", of=WEB, capacity=0),
        workload("d", "10.240.0.4", of=WEB, capacity=4, ports={80: 9090}),
    )
    found = Counter(node.reach("10.96.0.1", 80) for _ in range(SAMPLES))
    assert set(found) == {("10.240.0.1", 8080), ("10.240.0.2", 8080), ("10.240.0.4", 9090)}
    # Of 400: 50, 150 and 200, each within six standard deviations.
    for address, port, expected in (
        ("10.240.0.1", 8080, 50),
        ("10.240.0.2", 8080, 150),
        ("10.240.0.4", 9090, 200),
    ):
        deviation = (expected * (SAMPLES - expected) / SAMPLES) ** 0.5
        assert abs(found[address, port] - expected) < 6 * deviation, found


def test_a_strict_service_without_an_endpoint_here_is_refused(node: Node) -> None:
    """It never leaks to another path: behind the address itself somebody answers."""
    strict = service(
        "web", "10.96.0.1", ports={8080: 8080}, balancing=balanced("STRICT", "NODE")
    )
    away = workload("a", "10.240.0.1", of=WEB, node="n2")
    node.knows(strict, away)
    assert node.reach("10.96.0.1", 8080) is None
    node.knows(workload("b", "10.240.0.2", of=WEB, node="n1"))
    assert {node.reach("10.96.0.1", 8080) for _ in range(20)} == {("10.240.0.2", 8080)}
    node.knows(gone=(uid_of("b"),))
    assert node.reach("10.96.0.1", 8080) is None
    node.knows(gone=("app/web.app.svc.cluster.local",))
    assert node.reach("10.96.0.1", 8080) == ("10.96.0.1", 8080)


def test_failover_goes_where_there_is_one(node: Node) -> None:
    zones = balanced("FAILOVER", "REGION", "ZONE")
    node.knows(
        service("web", "10.96.0.1", balancing=zones),
        workload("client", "10.99.0.1", where="r/z1/", node="n1"),
        workload("a", "10.240.0.1", of=WEB, where="r/z1/"),
        workload("b", "10.240.0.2", of=WEB, where="r/z2/"),
        workload("c", "10.240.0.3", of=WEB, where="q/z1/"),
    )
    for answer, gone in (("10.240.0.1", "a"), ("10.240.0.2", "b"), ("10.240.0.3", "c")):
        assert {node.reach("10.96.0.1", 80) for _ in range(20)} == {(answer, 8080)}
        node.knows(gone=(uid_of(gone),))
    assert node.reach("10.96.0.1", 80) is None


def test_ranges_and_namespaces(node: Node) -> None:
    node.knows(
        workload("client", "10.99.0.1"),
        service("web", "10.97.0.0/16"),
        workload("a", "10.240.0.1", of=WEB),
        service("small", "10.97.5.0/24", namespace="shop"),
        service("six", "fd00:97::/32", ports={80: 9090}),
        workload("s", "fd00::5", of=("six",)),
        service("one", "10.97.5.1", namespace="shop", balancing=balanced("PASSTHROUGH")),
        service("mine", "10.98.0.1", namespace_visible_only=True),
        service("theirs", "10.98.0.2", namespace="shop", namespace_visible_only=True),
        workload("b", "10.240.0.2", of=("mine",)),
    )
    # One's own range before a longer one of others, an address before all.
    assert node.reach("10.97.1.2", 80) == ("10.240.0.1", 8080)
    assert node.reach("10.97.5.2", 80) == ("10.240.0.1", 8080)
    assert node.reach("10.97.5.1", 8080) == ("10.97.5.1", 8080)
    assert node.reach("fd00:97::9", 80) == ("fd00::5", 9090)
    assert node.reach("10.98.0.1", 80) == ("10.240.0.2", 8080)
    # Not of this namespace, so not there at all: the address answers itself.
    assert node.reach("10.98.0.2", 8080) == ("10.98.0.2", 8080)
    node.knows(gone=("app/web.app.svc.cluster.local",))
    assert node.reach("10.97.1.2", 8080) == ("10.97.1.2", 8080)
    assert node.reach("10.97.5.2", 80) is None  # a service without endpoints


def test_a_waypoint_before_a_range(node: Node) -> None:
    node.knows(
        service("web", "10.97.0.0/16", waypoint=by_name("gate")),
        workload("a", "10.240.0.1", of=WEB),
        service("gate", "10.96.0.9"),
    )
    assert node.reach("10.97.0.1", 80) is None
    node.knows(workload("g", "10.240.0.9", of=("gate",), tunnel=9090))
    assert node.reach("10.97.0.1", 80) == ("10.240.0.9", 9090)


def test_both_families_of_one_service(node: Node) -> None:
    node.knows(
        service("web", "10.96.0.1", "10.96.0.2", "fd00:96::1"),
        workload("a", "10.240.0.1", "fd00::1", of=WEB),
        workload("b", "10.240.0.2", of=WEB, healthy=False),
    )
    assert node.reach("10.96.0.1", 80) == ("10.240.0.1", 8080)
    assert node.reach("10.96.0.2", 80) == ("10.240.0.1", 8080)
    assert node.reach("fd00:96::1", 80) == ("fd00::1", 8080)
    assert node.reach("10.96.0.1", 81) is None
    assert node.reach("10.240.0.2", 8080) == ("10.240.0.2", 8080)
