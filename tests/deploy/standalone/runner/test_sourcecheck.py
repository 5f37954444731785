"""Spoofed sources, in a node's netns with pods that are wired as the runner does."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from bpf.netns import in_netns
from deploy.standalone.runner import links, sourcecheck
from deploy.standalone.runner.errors import NetworkError
from deploy.standalone.runner.network import be_router
from deploy.standalone.runner.wiring import (
    GATEWAY4,
    GATEWAY6,
    POD_INTERFACE,
    Wire,
    make_node_side,
)
from tests.bpf.raw import SYN, Segment, forger
from tests.support.netns import Netns, netns, veth

NODE4, NODE6 = "10.200.255.1", "fd00:200:ff::1"


@pytest.fixture(scope="module")
def pods() -> Iterator[list[Netns]]:
    """Three pods of a node."""
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(netns())
        for address in (f"{NODE4}/32", f"{NODE6}/128"):
            node.run(["ip", "addr", "add", address, "dev", "lo"])
        with in_netns(node.fd):
            links.quiet_interfaces()
            be_router()
            sourcecheck.enforce()
            ip = stack.enter_context(IPRoute())
        yield [stack.enter_context(wired(node, ip, number)) for number in (1, 2, 3)]


@contextlib.contextmanager
def wired(node: Netns, ip: IPRoute, number: int) -> Iterator[Netns]:
    with netns(f"10.200.1.{number}", f"fd00:200:1::{number}") as pod:
        name = f"{POD_INTERFACE}{number}"
        veth(pod, "eth0", node, name)
        for address in (f"{pod.v4}/32", f"{pod.v6}/128"):
            pod.run(["ip", "addr", "add", address, "dev", "eth0", "nodad"])
        pod.run(["ip", "link", "set", "eth0", "up"])
        with in_netns(node.fd):
            wire = Wire("pod", Path(), "node", name, pod.v4, pod.v6, NODE4, NODE6)
            make_node_side(ip, wire)
        for gateway in (GATEWAY4, GATEWAY6):
            route = ["default", "via", gateway, "dev", "eth0", "onlink"]
            pod.run(["ip", "-6" if ":" in gateway else "-4", "route", "add", *route])
        yield pod


@pytest.mark.parametrize("family", [0, 1])
@pytest.mark.parametrize("spoofed", ["another pod's", "the node's", "nobody's", "loopback"])
def test_a_spoofed_source_does_not_leave_the_node(
    pods: list[Netns], family: int, spoofed: str
) -> None:
    pod, owner, target = [(one.v4, one.v6)[family] for one in pods]
    source = {
        "another pod's": owner,
        "the node's": (NODE4, NODE6)[family],
        "nobody's": ("203.0.113.7", "2001:db8::7")[family],
        "loopback": ("127.0.0.1", "::1")[family],
    }[spoofed]
    with forger(pods[0]) as forging, forger(pods[2], resets=True) as heard:
        for number, address in enumerate((source, pod)):
            forging.send(Segment((address, 4000 + number), (target, 80), SYN))
        # The one with its own address comes last, and is all that comes.
        assert heard.heard((target, 80)).source == (pod, 4001)


def test_pods_reach_each_other(pods: list[Netns]) -> None:
    for server in pods:
        for address in (server.v4, server.v6):
            with server.listen(address, 80) as listener:
                for client in pods:
                    with client.open_socket(listener.family) as s:
                        s.connect((address, 80))
                        s.sendall(b"x")
                        accepted, _ = listener.accept()
                        with accepted:
                            assert accepted.recv(1) == b"x"


def test_an_nft_that_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sourcecheck, "RULES", "nonsense")
    with netns() as node, in_netns(node.fd), pytest.raises(NetworkError, match="send from"):
        sourcecheck.enforce()
    assert "tandem-sources" not in subprocess.getoutput("nft list tables")
