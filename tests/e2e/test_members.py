"""Processes of a node, enrolled by their cgroup, and pods of another node."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.standalone.config import NETNS_DIR
from tests.e2e.manifests import (
    account,
    allow,
    authentication,
    documents,
    entry,
    idle,
    namespace,
    pod,
    service,
)
from tests.e2e.processes import process
from tests.e2e.units import cgroup, inside
from tests.support.mesh import PROGRAMS, MeshHandle, eventually
from tests.support.wire import tapped

NODES = 2
NODE, OTHER = "node1", "node2"
PORT, LONER_PORT = 7301, 7309
MARK = b"a payload that nobody on the way may read"
SPIFFE = "spiffe://cluster.local/ns/apps/sa/"
MANIFESTS = {
    "mesh.yaml": documents(
        namespace("apps", dataplane_mode="ambient"),
        namespace("plain"),
        *map(account, ("db", "worker", "echo", "caller")),
        pod(
            "echo",
            "echo.py",
            "8080",
            namespace="apps",
            port=8080,
            node=OTHER,
            account="echo",
        ),
        service("web", 80, 8080, namespace="apps", selector="app: echo"),
        service("db", 80, PORT, namespace="apps", dual=False),
        pod("client", "idle.py", namespace="apps", node=OTHER, account="caller"),
        idle("near", "apps", node=NODE),
        idle("outsider", "plain", node=OTHER),
    ),
}


def only(account: str, app: str) -> str:
    """A policy that lets nobody else in."""
    rule = f"- from:\n  - source:\n      principals: [cluster.local/ns/apps/sa/{account}]\n"
    return allow(f"only-{account}", "apps", rule, app=app)


@dataclass
class World:
    """The node's network namespace, and who is in it: two of two accounts, and a loner."""

    mesh: MeshHandle
    units: dict[str, Path]

    @property
    def netns(self) -> Path:
        return NETNS_DIR / f"{self.mesh.name}-{NODE}"

    @property
    def address(self) -> str:
        return f"10.{self.mesh.octet}.255.1"

    def argv(self, unit: str, *command: str) -> list[str]:
        return inside(self.units[unit], "nsenter", f"--net={self.netns}", *command)

    def curl(self, unit: str, url: str, *arguments: str) -> dict[str, Any] | None:
        """What the server says that it saw; None: there is no connection."""
        return answer_of(self.argv(unit, "curl", "-sS", "-m", "20", *arguments, url))

    def ask(
        self, name: str, url: str, *arguments: str, space: str = "apps"
    ) -> dict[str, Any] | None:
        """The same by a pod."""
        command = ["curl", "-sS", "-m", "20", *arguments, url]
        return answer_of(self.mesh.argv(self.mesh.pod(name, space), command))

    def vip(self, name: str, kind: str = "ahostsv4") -> str:
        done = self.mesh.run("client", "getent", kind, name, namespace="apps")
        address = str(done.stdout.split()[0])
        return f"[{address}]" if ":" in address else address

    def served(self) -> set[str]:
        """Those that the control plane says are reached by HBONE."""
        rows = self.mesh.rows("workloads")
        return {r["name"] for r in rows if r["kind"] == "WorkloadEntry" and r["node"] == NODE}

    def lines(self, node: str, *words: str) -> list[str]:
        """Lines of a node agent's log that have all of these."""
        log = (self.mesh.state / "logs" / f"daemon-{node}.log").read_text()
        return [line for line in log.splitlines() if all(word in line for word in words)]

    @contextmanager
    def policy(self, text: str) -> Iterator[None]:
        self.mesh.write("policy.yaml", text)
        try:
            yield
        finally:
            (self.mesh.folder / "policy.yaml").unlink()


def answer_of(argv: list[str]) -> dict[str, Any] | None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        return None
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer | {"peer": str(answer.get("peer")).removeprefix("::ffff:")}


@pytest.fixture(scope="module")
def world(mesh: MeshHandle) -> Iterator[World]:
    with ExitStack() as stack:
        names = ("db", "worker", "loner")
        units = {name: stack.enter_context(cgroup(name)) for name in names}
        world = World(mesh, units)
        mesh.write(
            "entries.yaml",
            documents(*(entry(name, world.address) for name in ("db", "worker"))),
        )
        for unit, port in (("db", PORT), ("loner", LONER_PORT)):
            server = ["/usr/bin/python3", str(PROGRAMS / "echo.py"), str(port), unit]
            started = subprocess.Popen(world.argv(unit, *server), stderr=subprocess.DEVNULL)
            stack.callback(started.wait)
            stack.callback(started.kill)
        waiting = subprocess.Popen(world.argv("worker", "sleep", "infinity"))
        stack.callback(waiting.wait)
        stack.callback(waiting.kill)
        for unit, port in (("db", PORT), ("loner", LONER_PORT)):
            url = f"http://{world.address}:{port}/"
            eventually(
                lambda u=url: world.ask("outsider", u, space="plain"), f"{unit}'s server"
            )
        eventually(
            lambda: "WorkloadEntry/apps/worker" in str(mesh.dump("node", NODE)), "the entries"
        )
        for name in ("db", "worker"):
            mesh.tandem(
                "enroll",
                "--node",
                NODE,
                "--cgroup",
                str(units[name]),
                "--workload",
                f"apps/{name}",
            )
        eventually(lambda: world.served() == {"db", "worker"}, "the control plane's word")
        yield world


@pytest.mark.parametrize("kind", ["ahostsv4", "ahostsv6"])
def test_a_process_calls_a_pod_of_another_node(world: World, kind: str) -> None:
    with world.policy(only("worker", "echo")):
        eventually(lambda: not world.ask("client", f"http://{world.vip('web')}/"), "the policy")
        answer = world.curl("worker", f"http://{world.vip('web', kind)}/")
        assert answer is not None
        assert answer["name"] == "echo"
        own = {world.address, f"fd00:10:{world.mesh.octet}:ff::1"}
        assert answer["peer"] in own
        assert world.curl("db", f"http://{world.vip('web', kind)}/") is None
        assert world.curl("loner", f"http://{world.vip('web', kind)}/") is None
    eventually(
        lambda: world.lines(
            OTHER,
            f'src.identity="{SPIFFE}worker"',
            'direction="inbound"',
            'src.workload="worker"',
        ),
        "who it was",
    )


def test_a_pod_of_another_node_calls_a_process(world: World) -> None:
    url = f"http://{world.vip('db')}/"
    with world.policy(only("caller", "db")):
        answer = eventually(lambda: world.ask("client", url), "the policy's beginning")
        assert answer["name"] == "db"
        assert answer["peer"] in world.mesh.pod("client", "apps")["ips"]
    eventually(
        lambda: world.lines(
            NODE, f'src.identity="{SPIFFE}caller"', f'dst.identity="{SPIFFE}db"', "inbound"
        ),
        "who it was",
    )


def test_policies_of_a_process_see_who_calls(world: World) -> None:
    url = f"http://{world.vip('db')}/"
    with world.policy(only("nobody", "db")):
        eventually(lambda: world.ask("client", url) is None, "the policy's effect")
        eventually(
            lambda: world.lines(NODE, f'src.identity="{SPIFFE}caller"', "allow policies exist"),
            "the refusal in the log",
        )
        assert world.ask("near", url) is None, "the same within the node"
    eventually(lambda: world.ask("client", url), "the policy's end")
    assert world.ask("near", url), "the same within the node"


def test_strict_is_met_in_both_directions(world: World) -> None:
    web, db = f"http://{world.vip('web')}/", f"http://{world.vip('db')}/"
    there = f"http://{world.address}:{PORT}/"
    assert world.ask("outsider", there, space="plain")
    with world.policy(authentication("STRICT")):
        eventually(lambda: world.ask("outsider", there, space="plain") is None, "strictness")
        assert world.ask("client", db)
        assert world.curl("worker", web)
        assert world.curl("loner", web) is None
    eventually(lambda: world.ask("outsider", there, space="plain"), "the end of strictness")


def test_nobody_elses_port_is_led_to(world: World) -> None:
    url = f"http://{world.address}:{LONER_PORT}/"
    assert world.ask("outsider", url, space="plain")
    assert world.ask("client", url) is None


def test_nothing_readable_passes_between_nodes(world: World) -> None:
    pods = {ip for name in ("client", "echo") for ip in world.mesh.pod(name, "apps")["ips"]}
    here = {world.address, f"fd00:10:{world.mesh.octet}:ff::1"}
    with tapped(NETNS_DIR / world.mesh.name) as fabric, tapped(world.netns) as inside_node:
        for url in (
            f"http://{world.vip('web')}/sink",
            f"http://{world.vip('web', 'ahostsv6')}/sink",
        ):
            assert world.curl("worker", url, "-d", MARK.decode())
        assert world.ask("client", f"http://{world.vip('db')}/sink", "-d", MARK.decode())
    assert inside_node.holding(MARK), "the test would not see it"
    assert fabric.tcp
    assert fabric.lost == inside_node.lost == 0
    assert fabric.holding(MARK) == []
    ports = {
        15008 if 15008 in packet.ports else packet.ports[1]
        for packet in fabric.tcp
        if packet.ends & pods and packet.ends & here
    }
    assert ports == {15008}


def test_an_agent_that_is_replaced_is_not_missed(world: World) -> None:
    mesh = world.mesh
    with mesh.steady("client", f"http://{world.vip('db')}/", namespace="apps") as steady:
        steady.more(20)
        before = process(mesh, "daemon", NODE)
        os.kill(before, signal.SIGTERM)
        eventually(lambda: process(mesh, "daemon", NODE) != before, "a successor")
        eventually(lambda: not Path(f"/proc/{before}").exists(), "the end of the old one", 60)
        steady.more(20)
        assert [a for a in steady.failures() if not a["kept"]] == []
    assert world.curl("worker", f"http://{world.vip('web')}/")
    assert world.served() == {"db", "worker"}


def test_after_an_agent_is_killed_tunnels_are_made_anew(world: World) -> None:
    mesh = world.mesh
    before = process(mesh, "daemon", NODE)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: process(mesh, "daemon", NODE) != before, "a successor")
    eventually(lambda: world.ask("client", f"http://{world.vip('db')}/"), "a tunnel", 60)
    eventually(lambda: world.curl("worker", f"http://{world.vip('web')}/"), "a tunnel", 60)
    assert world.served() == {"db", "worker"}


def test_who_leaves_is_reached_as_anybody_else(world: World) -> None:
    """The last: nobody is enrolled any more."""
    url = f"http://{world.vip('db')}/"
    reach = ["curl", "-s", "-m", "5", "-o", "/dev/null", f"{world.address}:15008"]

    def open_port() -> bool:
        argv = world.mesh.argv(world.mesh.pod("outsider", "plain"), reach)
        return subprocess.run(argv, check=False).returncode != 7  # curl: can't connect

    assert open_port()
    for name in ("worker", "db"):
        world.mesh.tandem("unenroll", "--node", NODE, "--cgroup", str(world.units[name]))
        eventually(lambda n=name: n not in world.served(), "the control plane's word")
    assert not open_port()
    eventually(lambda: world.ask("client", url), "plain text")
    assert world.curl("worker", f"http://{world.vip('web')}/"), "by the node's own balancer"
