"""Who reaches whom: pods, nodes, host and control plane, both families, VIPs."""

from __future__ import annotations

import asyncio
import socket
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

from tests.deploy.standalone.runner.worlds import World, get, make_config, run_in, running

CONFIG = make_config("nettest", 162, "node1", "node2")
VIPS = ["10.163.0.20", "fd00:20:163::20"]
#: Sends datagrams to a VIP from new sockets; prints who answered.
ASK_UDP = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
for _ in range(8):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.connect((sys.argv[1], 53))
        s.send(b"x")
        print(s.recv(100).decode())
"""
ANSWER_UDP = """
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 5353))
while True:
    _, peer = s.recvfrom(100)
    s.sendto(socket.gethostname().encode(), peer)
"""
#: Prints how a connect ends, and after how many seconds at most.
CONNECT = """
import socket, sys, time
start = time.monotonic()
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5).close()
    print("connected")
except OSError as error:
    print(type(error).__name__, time.monotonic() - start < 1)
"""


def fetch(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        text: str = answer.read().decode()
        return text


async def test_everyone_reaches_everyone(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.server("a")
    world.server("b")
    world.server("c", node="node2")
    world.service("web", ["a", "b", "c"], VIPS)
    world.service("only-a", ["a"], ["10.163.0.21", "fd00:20:163::21"])
    world.service("nobody", [], ["10.163.0.22", "fd00:20:163::22"])
    world.service(
        "entry", ["c"], ["240.240.0.20", "2001:2::20"], hostname="books.example", entry=True
    )
    world.write()
    async with running(CONFIG, world) as mesh:
        await mesh.wait_ready()
        ips = {name: mesh.reporter.current["default", name].ips for name in "abc"}
        assert ips == {
            "a": ("10.162.1.2", "fd00:20:162:1::2"),
            "b": ("10.162.1.3", "fd00:20:162:1::3"),
            "c": ("10.162.2.2", "fd00:20:162:2::2"),
        }

        async def check_pods() -> None:
            """Pod to pod, on one node and across, and the source address is the pod's."""
            for client, server in (("a", "b"), ("a", "c"), ("c", "a")):
                for family in (0, 1):
                    ip = ips[server][family]
                    url = f"http://[{ip}]:8080/" if family else f"http://{ip}:8080/"
                    source = ips[client][family]
                    expected = source if family else f"::ffff:{source}"
                    status, output = await run_in(CONFIG, client, *get(url))
                    assert (status, output) == (0, f"b'{server} {expected}'\n")

        async def check_balance() -> None:
            """VIPs lead everywhere, from the host too, and show the client's own address."""
            for vip in ("10.163.0.20", "[fd00:20:163::20]"):
                seen = [await asyncio.to_thread(fetch, f"http://{vip}/") for _ in range(30)]
                host = "::ffff:10.162.255.254" if "." in vip else "fd00:20:162:ff::fe"
                assert {line.split()[1] for line in seen} == {host}
                assert set(Counter(line.split()[0] for line in seen)) == {"a", "b", "c"}
            code = "import urllib.request as u\nfor _ in range(30): print(u.urlopen('http://web/').read().decode())"
            _, output = await run_in(CONFIG, "c", "python3", "-c", code)
            lines = [line.split() for line in output.splitlines()]
            assert {line[0] for line in lines} == {"a", "b", "c"}
            others = {line[1] for line in lines if line[0] != "c"}
            assert others == {ips["c"][1]}

        async def check_entry() -> None:
            """A ServiceEntry's host leads to what stands behind it."""
            for url in (
                "http://240.240.0.20/",
                "http://[2001:2::20]/",
                "http://books.example/",
            ):
                status, output = await run_in(CONFIG, "a", *get(url))
                assert (status, output.split()[0]) == (0, "b'c")

        async def check_itself() -> None:
            """A pod reaches itself through a VIP: by the node's address."""
            for url, node in (
                ("http://10.163.0.21/", "::ffff:10.162.255.1"),
                ("http://[fd00:20:163::21]/", "fd00:20:162:ff::1"),
            ):
                assert await run_in(CONFIG, "a", *get(url)) == (0, f"b'a {node}'\n")

        async def check_refusals() -> None:
            """No endpoint, no such port, no such VIP: refused at once."""
            for vip, port in (
                ("10.163.0.22", "80"),
                ("fd00:20:163::22", "80"),
                ("10.163.0.20", "81"),
                ("10.163.9.9", "80"),
                ("fd00:20:163::99", "80"),
                ("240.240.9.9", "80"),
                ("2001:2::99", "80"),
            ):
                refused = (0, "ConnectionRefusedError True\n")
                assert await run_in(CONFIG, "a", "python3", "-c", CONNECT, vip, port) == refused
            with socket.socket() as client:
                client.settimeout(2)
                assert await asyncio.to_thread(client.connect_ex, ("10.163.0.22", 80)) == 111

        async def check_node() -> None:
            """The node's own connects are balanced too, and come from its address."""
            thread = mesh.nodes["node1"].sockets
            for url, node in (
                ("http://10.163.0.21/", "::ffff:10.162.255.1"),
                ("http://[fd00:20:163::21]/", "fd00:20:162:ff::1"),
                (f"http://{ips['b'][0]}:8080/", "::ffff:10.162.255.1"),
                (f"http://[{ips['b'][1]}]:8080/", "fd00:20:162:ff::1"),
            ):
                assert (await thread.call(fetch, url)).split()[1] == node

        await asyncio.gather(
            check_pods(),
            check_balance(),
            check_entry(),
            check_itself(),
            check_refusals(),
            check_node(),
        )


async def test_udp(tmp_path: Path) -> None:
    world = World(tmp_path)
    for name, node in (("a", "node1"), ("b", "node2")):
        world.pod(name, ["python3", "-c", ANSWER_UDP], node=node)
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}]
    world.service("udp", ["a", "b"], VIPS, ports=ports, targets={"53": 5353})
    world.service("nobody", [], ["10.163.0.22"], ports=ports)
    world.write()
    async with running(CONFIG, world) as mesh:
        await mesh.wait_ready()
        # Nothing says when a datagram socket is bound: the first answer does.
        for vip in VIPS:
            async with asyncio.timeout(15):
                while (done := await run_in(CONFIG, "a", "python3", "-c", ASK_UDP, vip))[0]:
                    assert "refused" in done[1]
            assert set(done[1].split()) <= {"a", "b"}
        status, output = await run_in(CONFIG, "a", "python3", "-c", ASK_UDP, "10.163.0.22")
        assert status == 1
        assert "ConnectionRefusedError" in output
