"""Between nodes: client, waypoint and server on three of them, in three namespaces."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from bpf.netns import in_netns
from deploy.standalone.config import NETNS_DIR
from tests.e2e.held import Held
from tests.e2e.manifests import allow, documents, gateway, idle, namespace, pod, service
from tests.e2e.processes import process
from tests.support.certificates import Authority
from tests.support.mesh import MeshHandle, eventually
from tests.support.wire import tapped

NODES = 3
DAY = timedelta(days=1)
MARK = b"a payload that nobody on the way may read"
CLIENT, SERVER = "node1", "node3"
ACCOUNT = "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {}\n  namespace: {}\n"
SERVERS = (
    namespace("servers", dataplane_mode="ambient", use_waypoint="waypoint").rstrip("\n")
    + "\n    istio.io/use-waypoint-namespace: gateways\n"
)

MANIFESTS = {
    "mesh.yaml": documents(
        namespace("callers", dataplane_mode="ambient"),
        namespace("gateways", dataplane_mode="ambient"),
        SERVERS,
        namespace("plain"),
        ACCOUNT.format("caller", "callers"),
        ACCOUNT.format("echo", "servers"),
        idle("client", "callers", node=CLIENT).replace(
            "spec:\n", "spec:\n  serviceAccountName: caller\n"
        ),
        idle("outsider", "plain", node=CLIENT),
        gateway("waypoint", "gateways"),
        pod(
            "echo",
            "echo.py",
            "8080",
            namespace="servers",
            port=8080,
            node=SERVER,
            account="echo",
        ),
        pod("greeter", "greeter.py", "2525", namespace="servers", port=2525, node=SERVER),
        service("web", 80, 8080, namespace="servers", selector="app: echo"),
        service(
            "direct",
            80,
            8080,
            namespace="servers",
            selector="app: echo",
            use_waypoint="none",
        ),
        service(
            "greeter",
            25,
            2525,
            namespace="servers",
            port_name="tcp",
            use_waypoint="none",
        ),
    ),
}
WAYPOINT_ONLY = (
    "- from:\n  - source:\n      principals: [cluster.local/ns/gateways/sa/waypoint]\n"
)
NOBODY = "- from:\n  - source:\n      principals: [cluster.local/ns/none/sa/none]\n"

#: How a connection that is refused ends for its client, in one word.
READ = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as s:
        print("greeted" if s.recv(100) else "closed")
except OSError as error:
    print(type(error).__name__)
"""

#: Opens so many connections at once, and closes them; again and again.
CROWDS = """
import resource, socket, sys
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
for size in map(int, sys.argv[3].split(",")):
    crowd = [socket.create_connection((sys.argv[1], int(sys.argv[2])), 60) for _ in range(size)]
    for s in crowd:
        assert s.recv(100)
    for s in crowd:
        s.close()
print("done")
"""


def curl(mesh: MeshHandle, url: str, *arguments: str, family: str = "-4") -> dict[str, object]:
    """What the server says that it saw."""
    done = mesh.run(
        "client", "curl", "-sS", "-m", "20", family, *arguments, url, namespace="callers"
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def greeted(mesh: MeshHandle) -> str:
    """How the client fares at the greeter on the other node."""
    argv = ("/usr/bin/python3", "-c", READ, "greeter.servers", "25")
    return mesh.run("client", *argv, namespace="callers").stdout.strip()


def log_of(mesh: MeshHandle, node: str) -> list[str]:
    """What a node's agent has written."""
    return (mesh.state / "logs" / f"daemon-{node}.log").read_text().splitlines()


def address(mesh: MeshHandle, name: str, space: str, version: str = ".") -> str:
    """A pod's address of the family that has this separator."""
    return next(ip for ip in mesh.pod(name, space)["ips"] if version in ip)


def test_they_are_on_three_nodes(mesh: MeshHandle) -> None:
    nodes = {row["name"]: row["node"] for row in mesh.rows("pods")}
    waypoint = next(node for name, node in nodes.items() if name.startswith("waypoint"))
    assert {nodes["client"], nodes["echo"], waypoint} == {"node1", "node2", "node3"}


@pytest.mark.parametrize(("family", "separator"), [("-4", "."), ("-6", ":")])
def test_the_server_sees_the_client(mesh: MeshHandle, family: str, separator: str) -> None:
    answer = curl(mesh, "http://direct.servers/", family=family)
    assert answer["name"] == "echo"
    peer = str(answer["peer"]).removeprefix("::ffff:")
    assert peer == address(mesh, "client", "callers", separator)


def test_both_ends_log_who_it_was(mesh: MeshHandle) -> None:
    curl(mesh, "http://direct.servers/")
    source = 'src.identity="spiffe://cluster.local/ns/callers/sa/caller"'
    destination = 'dst.identity="spiffe://cluster.local/ns/servers/sa/echo"'
    for node, direction in ((CLIENT, "outbound"), (SERVER, "inbound")):
        eventually(
            lambda n=node, d=direction: any(
                source in line and destination in line and f'direction="{d}"' in line
                for line in log_of(mesh, n)
            ),
            f"a line of {node}",
        )


def test_nothing_readable_passes_between_nodes(mesh: MeshHandle) -> None:
    pods = {ip for name, space in (("client", "callers"), ("echo", "servers"))
            for ip in mesh.pod(name, space)["ips"]}  # fmt: skip
    with (
        tapped(NETNS_DIR / mesh.name) as fabric,
        tapped(Path(mesh.pod("client", "callers")["netns"])) as inside,
    ):
        for family in ("-4", "-6"):
            for host in ("direct", "web"):
                curl(mesh, f"http://{host}.servers/sink", "-d", MARK.decode(), family=family)
    assert inside.holding(MARK), "the test would not see it"
    assert fabric.tcp
    assert fabric.lost == inside.lost == 0
    assert fabric.holding(MARK) == []
    ports = {
        15008 if 15008 in packet.ports else packet.ports[1]
        for packet in fabric.tcp
        if packet.ends & pods
    }
    assert ports == {15008}


def test_a_waypoint_on_the_way_knows_the_caller(mesh: MeshHandle) -> None:
    answer = curl(mesh, "http://web.servers/")
    assert answer["name"] == "echo"
    assert "x-request-id" in answer["headers"]  # type: ignore[operator]
    eventually(
        lambda: (
            "spiffe://cluster.local/ns/callers/sa/caller"
            in mesh.tandem("logs", "-n", "gateways", "waypoint")
        ),
        "the caller's identity in the waypoint's log",
    )


def test_the_destination_sees_the_waypoint(mesh: MeshHandle) -> None:
    policy = allow("only", "servers", WAYPOINT_ONLY, app="echo")
    mesh.write("policy.yaml", policy)

    def refused() -> bool:
        done = mesh.run(
            "client", "curl", "-s", "-m", "20", "http://direct.servers/",
            namespace="callers", check=False,
        )  # fmt: skip
        return done.returncode != 0

    try:
        eventually(refused, "the policy's effect")
        assert curl(mesh, "http://web.servers/")["name"] == "echo"
        eventually(
            lambda: any("allow policies exist" in line for line in log_of(mesh, SERVER)),
            "the refusal in the log",
        )
    finally:
        (mesh.folder / "policy.yaml").unlink()
    eventually(lambda: not refused(), "the policy's end")


def test_a_waypoint_skips_itself(mesh: MeshHandle) -> None:
    def lines() -> int:
        return mesh.tandem("logs", "-n", "gateways", "waypoint").count("/of-the-waypoint")

    done = mesh.run(
        "waypoint", "curl", "-sS", "http://web.servers/of-the-waypoint", namespace="gateways"
    )
    assert "x-request-id" not in json.loads(done.stdout)["headers"]
    curl(mesh, "http://web.servers/of-the-waypoint")
    eventually(lambda: lines() == 1, "the client's request, and it alone, in the log")


def test_a_refused_client_sees_a_reset(mesh: MeshHandle) -> None:
    assert greeted(mesh) == "greeted"
    mesh.write("nobody.yaml", allow("nobody", "servers", NOBODY, app="greeter"))
    try:
        eventually(lambda: greeted(mesh) == "ConnectionResetError", "a reset, not a clean end")
    finally:
        (mesh.folder / "nobody.yaml").unlink()
    eventually(lambda: greeted(mesh) == "greeted", "the policy's end")


def test_a_push_closes_what_is_now_denied(mesh: MeshHandle) -> None:
    with Held(mesh, "client", "callers", "greeter.servers", 25) as held:
        assert held.alive()
        mesh.write("nobody.yaml", allow("nobody", "servers", NOBODY, app="greeter"))
        try:
            eventually(lambda: not held.alive(), "its end", 10)
        finally:
            (mesh.folder / "nobody.yaml").unlink()
    eventually(lambda: greeted(mesh) == "greeted", "the policy's end")


def let_in(mesh: MeshHandle, chain: Path | None) -> bool:
    """Whether a TLS client outside of the mesh is let in at the echo pod's 15008."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if chain is not None:
        context.load_cert_chain(chain)
    outsider = Path(mesh.pod("outsider", "plain")["netns"])
    with outsider.open() as place, in_netns(place.fileno()):
        raw = socket.socket()
    with raw:
        raw.settimeout(10)
        raw.connect((address(mesh, "echo", "servers"), 15008))
        try:
            with context.wrap_socket(raw) as wrapped:
                # TLS 1.3: the server's word comes after the client's own handshake.
                wrapped.sendall(
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)
                )
                return bool(wrapped.recv(1))
        except (ssl.SSLError, ConnectionError):
            return False


def mesh_authority(mesh: MeshHandle) -> Authority:
    """Whoever signs for the mesh; to nobody but root."""
    return Authority.of(mesh.state / "control" / "ca" / "1" / "intermediate.pem")


CALLER = "spiffe://cluster.local/ns/callers/sa/caller"


@pytest.mark.parametrize(
    ("uri", "ours", "end", "welcome"),
    [
        (CALLER, True, DAY, True),
        (CALLER, True, -timedelta(minutes=5), False),
        (CALLER, False, DAY, False),
        ("spiffe://elsewhere.local/ns/callers/sa/caller", True, DAY, False),
        ("spiffe://cluster.local/caller", True, DAY, False),
        ("https://cluster.local/ns/callers/sa/caller", True, DAY, False),
        (None, True, DAY, False),
    ],
    ids=[
        "good",
        "expired",
        "self-signed",
        "foreign domain",
        "no identity",
        "no SPIFFE",
        "none",
    ],
)
def test_who_comes_in_by_what_certificate(
    mesh: MeshHandle, tmp_path: Path, uri: str | None, ours: bool, end: timedelta, welcome: bool
) -> None:
    chain = tmp_path / "chain.pem"
    if uri is not None:
        authority = mesh_authority(mesh) if ours else Authority()
        leaf, key = authority.issue(uri, begin=-DAY, end=end)
        chain.write_bytes(leaf + authority.chain + key)
    assert let_in(mesh, chain if uri is not None else None) is welcome


def resident(mesh: MeshHandle, node: str) -> int:
    """Kilobytes of memory that a node's agent has."""
    status = Path(f"/proc/{process(mesh, 'daemon', node)}/status").read_text()
    return int(next(line for line in status.splitlines() if "VmRSS" in line).split()[1])


def crowds(mesh: MeshHandle, *sizes: int) -> None:
    """Have the client open so many connections at once, one crowd after the other."""
    argv = (
        "/usr/bin/python3",
        "-c",
        CROWDS,
        "greeter.servers",
        "25",
        ",".join(map(str, sizes)),
    )
    assert mesh.run("client", *argv, namespace="callers").stdout == "done\n"


@pytest.mark.soak
def test_memory_stays_after_crowds(mesh: MeshHandle) -> None:
    """Python keeps some of what a first crowd took; no further one may take more."""
    crowds(mesh, 2000)
    before = {node: resident(mesh, node) for node in (CLIENT, SERVER)}
    crowds(mesh, *[1000] * 10)

    def back() -> bool:
        return all(resident(mesh, node) <= before[node] * 1.1 for node in before)

    after = {node: resident(mesh, node) for node in before}
    print(f"kilobytes before {before}, at once after {after}")
    eventually(back, f"memory as before: {before}, at once after {after}", 60)


@pytest.mark.parametrize("node", [CLIENT, SERVER])
def test_an_agent_that_is_replaced_is_not_missed(mesh: MeshHandle, node: str) -> None:
    with mesh.steady("client", "http://direct.servers/", namespace="callers") as steady:
        steady.more(20)
        before = process(mesh, "daemon", node)
        os.kill(before, signal.SIGTERM)
        eventually(lambda: process(mesh, "daemon", node) != before, "a successor")
        eventually(lambda: not Path(f"/proc/{before}").exists(), "the end of the old one", 60)
        steady.more(20)
        # What is kept open ends with the agent that carries it, once its time is over.
        assert [a for a in steady.failures() if not a["kept"]] == []
        broken = [a for a in steady.failures() if a["kept"]]
        assert len(broken) <= 1, broken


@pytest.mark.parametrize("node", [CLIENT, SERVER])
def test_after_an_agent_is_killed_tunnels_are_made_anew(mesh: MeshHandle, node: str) -> None:
    before = process(mesh, "daemon", node)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: process(mesh, "daemon", node) != before, "a successor")
    eventually(lambda: greeted(mesh) == "greeted", "the tunnel", 60)
