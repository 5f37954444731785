"""Processes killed and files edited in no order, under load: nothing is lost."""

from __future__ import annotations

import os
import random
import signal

import pytest

from tests.e2e.manifests import documents, gateway, idle, namespace, pod, service
from tests.e2e.processes import process
from tests.support.mesh import MeshHandle, eventually

LABELLED = namespace("apps", dataplane_mode="ambient", use_waypoint="waypoint")
MANIFESTS = {
    "namespace.yaml": LABELLED,
    "apps.yaml": documents(
        gateway("waypoint", "apps"),
        pod("echo-0", "echo.py", "8080", namespace="apps", app="echo", port=8080),
        pod("echo-1", "echo.py", "8080", namespace="apps", app="echo", port=8080),
        service("web", 80, 8080, namespace="apps", selector="app: echo"),
        service(
            "direct", 80, 8080, namespace="apps", selector="app: echo", use_waypoint="none"
        ),
        idle("client", "apps"),
    ),
}


def disturb(mesh: MeshHandle, chance: random.Random) -> str:
    """One thing that must not be noticed; what it was."""
    choice = chance.choice(["control", "daemon", "services", "unlabel"])
    if choice == "control":
        os.kill(process(mesh, "deploy.standalone.control"), signal.SIGKILL)
    elif choice == "daemon":
        os.kill(process(mesh, "daemon"), signal.SIGKILL)
    elif choice == "services":
        count = chance.randrange(1, 30)
        extra = [
            service(f"extra-{i}", 80 + i, 8080, namespace="apps", selector="app: echo")
            for i in range(count)
        ]
        mesh.write("extra.yaml", documents(*extra))
    else:
        mesh.write("namespace.yaml", chance.choice([LABELLED, namespace("apps")]))
    return choice


def told(mesh: MeshHandle, done: list[str]) -> str:
    """What helps to understand a failure."""
    log = mesh.tandem("logs", "-n", "apps", "waypoint").splitlines()
    odd = [line for line in log if "\twarn" in line or " 503 " in line or " DC " in line]
    counters = mesh.dump("node")["counters"]
    return "\n".join([f"did {done[-5:]}", *odd[-10:], str(counters)])


@pytest.mark.parametrize("rounds", [4, pytest.param(80, marks=pytest.mark.soak)])
def test_nothing_is_lost(mesh: MeshHandle, rounds: int) -> None:
    chance = random.Random(rounds)
    done = []
    with (
        mesh.steady("client", "http://web/", namespace="apps") as web,
        mesh.steady("client", "http://direct/", namespace="apps") as direct,
    ):
        for _ in range(rounds):
            done.append(disturb(mesh, chance))
            web.more(60)
            direct.more(60)
            for module in ("deploy.standalone.control", "daemon"):
                eventually(lambda m=module: process(mesh, m), f"{module} is back")
            assert web.failures() + direct.failures() == [], told(mesh, done)

    def agree() -> bool:
        control = set(mesh.dump("control")["services"])
        return (
            set(mesh.dump("node")["services"])
            == control
            == set(mesh.dump("waypoint")["services"])
        )

    eventually(agree, "all have the same services in the end", 60)
