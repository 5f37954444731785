"""The map, and what it makes of a pod's resolver, with the real kernel programs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from bpf.addresses import mapped
from bpf.layout import LocalAddress, Pod
from bpf.maps import Maps
from bpf.netns import in_netns
from daemon.dns.nameservers import write
from tests.daemon.dns.cluster_dns import serving
from tests.daemon.dns.world import COOKIE, World, running
from tests.daemon.meshes import ip
from tests.daemon.process import NodePlaces, in_cgroup
from tests.support.netns import Netns, pair
from tests.support.programs import RESOLVE
from tests.support.waiting import until

#: Resolves until it is told to stop, then says what came of it.
REPEAT = """
import collections, json, select, socket, sys
found = collections.Counter()
print("begun", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        for answer in socket.getaddrinfo("four.app.svc.cluster.local.", 80, socket.AF_INET,
                                         socket.SOCK_STREAM):
            found[answer[4][0]] += 1
    except socket.gaierror as error:
        found[str(error)] += 1
print(json.dumps(found))
"""


RESOLVED = {
    "web": ["10.96.0.1", "fd00::1"],
    "web.other": ["10.96.0.3"],
    "web.app.svc.cluster.local": ["10.96.0.1", "fd00::1"],
    "db": ["10.244.0.1", "10.244.0.2", "fd01::1", "fd01::2"],
    "db-1.db": ["10.244.0.2", "fd01::2"],
    "four": ["10.96.0.2"],
    "db.example.com": ["2001:2::1", "240.240.0.1"],
    "x.wild.example.com": ["240.240.0.3"],
    "www.google.com": ["9.9.9.9"],
    "nothing.com": socket.EAI_NONAME,
    "private.other": socket.EAI_NONAME,
}
FOUR = "four.app.svc.cluster.local."


def key(address: str) -> LocalAddress:
    return LocalAddress(mapped(ip(address)))


def test_the_map_holds_what_is_configured_and_nothing_else() -> None:
    table = Maps.memory().nameservers
    write(table, ["10.96.0.10", "fd00::a", "127.0.0.53", "::1"])
    assert dict(table.items()) == {key("10.96.0.10"): 1, key("fd00::a"): 1}
    write(table, ["10.96.0.11", "fd00::a"])
    assert dict(table.items()) == {key("10.96.0.11"): 1, key("fd00::a"): 1}
    write(table, [])
    assert dict(table.items()) == {}


class Hooked:
    """A pod on the real kernel programs; its nameserver's own netns is another."""

    def __init__(self, places: NodePlaces, pod: Netns, conf: Path) -> None:
        self.places = places
        self.pod = pod
        self.conf = conf

    def write(self, nameserver: str, options: str) -> None:
        self.conf.write_text(
            f"nameserver {nameserver}\noptions ndots:5 timeout:2 {options}\n"
            "search app.svc.cluster.local svc.cluster.local cluster.local\n"
        )

    def command(self, code: str, *arguments: str) -> list[str]:
        script = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
        inside = ["unshare", "-m", "sh", "-c", script, "sh", str(self.conf)]
        python = [*inside, sys.executable, "-c", code, *arguments]
        entered = ["nsenter", f"--net={self.pod.path}", *python]
        return in_cgroup(self.places.pods_cgroup(), *entered)


@pytest.fixture
def hooked(loaded: NodePlaces, tmp_path: Path) -> Iterator[tuple[Hooked, Netns]]:
    with pair() as (node, pod), contextlib.closing(Maps.open(loaded.pin_dir)) as maps:
        node.run(["ip", "addr", "add", "10.96.0.10/32", "dev", "lo"])
        pod.run(["ip", "route", "add", "default", "via", node.v4])
        maps.pods.put(pod.cookie, Pod(1, 0))
        write(maps.nameservers, ["10.96.0.10", "fd00:96::a"])
        yield Hooked(loaded, pod, tmp_path / "resolv.conf"), node


async def test_the_c_librarys_resolver(hooked: tuple[Hooked, Netns]) -> None:
    """It asks the cluster's nameserver, and takes answers from nobody else."""
    client, _ = hooked
    for nameserver in ("10.96.0.10", "fd00:96::a"):
        for options, protocol in (("", "udp"), ("use-vc", "tcp")):
            client.write(nameserver, options)
            async with running(pod=client.pod) as world:
                world.cluster.behaviour = google
                assert await resolved(client, *RESOLVED) == RESOLVED
                requests = world.server.metrics.requests
                assert {labels.request_protocol for labels in requests} == {protocol}


def google(wire: bytes, _tcp: bool) -> list[bytes]:
    """One name exists."""
    asked = dns.message.from_wire(wire)
    made = dns.message.make_response(asked, recursion_available=True)
    question = asked.question[0]
    if question.name.to_text() != "www.google.com.":
        made.set_rcode(dns.rcode.NXDOMAIN)
    elif question.rdtype == dns.rdatatype.A:
        made.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", "9.9.9.9"))
    return [made.to_wire()]


async def test_nobody_notices_a_restart(hooked: tuple[Hooked, Netns]) -> None:
    """Ours or the cluster DNS's answer: none is lost when we end and begin again."""
    client, node = hooked
    async with contextlib.AsyncExitStack() as stack:
        with in_netns(node.fd):
            cluster, _ = await stack.enter_async_context(serving("10.96.0.10", 53))
        for options in ("", "use-vc"):
            client.write("10.96.0.10", options)
            asking = await asyncio.create_subprocess_exec(
                *client.command(REPEAT), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert asking.stdout is not None
            await asking.stdout.readline()
            for _ in range(20):
                theirs = len(cluster.asked)
                await until(lambda before=theirs: len(cluster.asked) > before)
                async with running(pod=client.pod) as world:
                    await until(lambda w=world: w.server.metrics.requests.total() > 20)
            output, _ = await asking.communicate(b"enough")
            found = json.loads(output)
            assert set(found) == {"10.96.0.2", "9.9.9.9"}
            assert found["10.96.0.2"] >= 20 * 20


async def test_after_a_crash_the_cluster_dns_answers(hooked: tuple[Hooked, Netns]) -> None:
    client, node = hooked
    client.write("10.96.0.10", "")
    async with contextlib.AsyncExitStack() as stack:
        with in_netns(node.fd):
            await stack.enter_async_context(serving("10.96.0.10", 53))
        world = await stack.enter_async_context(running(pod=client.pod))
        assert await resolved(client, FOUR) == {FOUR: ["10.96.0.2"]}
        crash(world)
        assert await resolved(client, FOUR) == {FOUR: ["9.9.9.9"]}
        world.open()
        assert await resolved(client, FOUR) == {FOUR: ["10.96.0.2"]}


def crash(world: World) -> None:
    """As the kernel does it for a killed process: sockets close as they are."""
    loop = asyncio.get_running_loop()
    sockets = world.server.pods.pop(COOKIE).endpoint.sockets
    for one in (*sockets.udp, *sockets.tcp):
        loop.remove_reader(one)
        one.close()


async def resolved(client: Hooked, *names: str) -> dict[str, object]:
    """What a program in the pod finds."""
    asking = await asyncio.create_subprocess_exec(
        *client.command(RESOLVE, *names), stdout=subprocess.PIPE
    )
    output, _ = await asking.communicate()
    return dict(json.loads(output))
