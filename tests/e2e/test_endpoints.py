"""Endpoints come and go by the thousand while clients connect, on a real node."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import socket
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pytest

from tests.daemon import crowd
from tests.daemon.process import (
    XDS_PORT,
    Daemon,
    enrolling,
    in_cgroup,
    in_node,
    node_places,
    until,
)
from tests.support.netns import Netns, netns, pair
from tests.ztunnel_compat.ads_server import Stream, serving
from ztunnel_compat.xds import AUTHORIZATION_TYPE
from ztunnel_compat.zds import AddWorkload

SERVICES, POOL, AT_LEAST = 20, 100, 20
CHANGES_A_SECOND = 1000
#: How long an endpoint that is gone may still be connected to.
GRACE = 1.0

#: Accepts everywhere; at the end says when it was connected to, and as which address.
SERVER = """
import socket, sys, time
listener = socket.create_server(("0.0.0.0", 8080), backlog=1024)
accepted = []
print("listening", flush=True)
listener.settimeout(0.1)
import select
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(50):
        try:
            sock, _peer = listener.accept()
        except TimeoutError:
            break
        accepted.append((time.monotonic(), sock.getsockname()[0]))
        sock.close()
for when, address in accepted:
    print(when, address)
"""

#: Connects to one service after the other; at the end says how often, and what failed.
CLIENT = """
import random, select, socket, struct, sys, time
reset = struct.pack("ii", 1, 0)  # no TIME_WAIT: ports would run out
vips = sys.argv[2:]
chance = random.Random(int(sys.argv[1]))
done, failed = 0, []
print("connecting", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(20):
        sock = socket.socket()
        sock.settimeout(10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        vip = chance.choice(vips)
        try:
            sock.connect((vip, 80))
            done += 1
        except OSError as error:
            failed.append((time.monotonic(), vip, repr(error)))
        sock.close()
    time.sleep(0.01)
print(done)
for entry in failed:
    print(*entry)
"""


class Endpoints:
    """Which endpoints there are, and when each of them was last taken away."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.present: dict[int, set[int]] = {
            service: set(range(service * POOL, service * POOL + 2 * AT_LEAST))
            for service in range(SERVICES)
        }
        self.gone_since: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.left: dict[int, float] = {}
        self.changes = 0
        for service in range(SERVICES):
            for number in range(service * POOL, (service + 1) * POOL):
                if number not in self.present[service]:
                    self.left[number] = float("-inf")

    def delta(self, count: int) -> tuple[list[object], tuple[str, ...]]:
        """Some endpoints come, others go; never two changes of one."""
        updated: dict[int, object] = {}
        removed: dict[int, str] = {}
        now = time.monotonic()
        for _ in range(count):
            service = self.random.randrange(SERVICES)
            number = self.random.randrange(service * POOL, (service + 1) * POOL)
            if number in updated or number in removed:
                continue
            here = self.present[service]
            if number not in here:
                here.add(number)
                updated[number] = crowd.endpoint(number, service)
                self.gone_since[self.address(number)].append((self.left.pop(number), now))
            elif len(here) > AT_LEAST:
                here.discard(number)
                removed[number] = crowd.endpoint_name(number, service)
                self.left[number] = now
        self.changes += len(updated) + len(removed)
        return list(updated.values()), tuple(removed.values())

    @staticmethod
    def address(number: int) -> str:
        return socket.inet_ntoa(crowd.endpoint_address(number))

    def absences(self) -> dict[str, list[tuple[float, float]]]:
        """Address -> from when to when it was no endpoint."""
        for number, since in self.left.items():
            self.gone_since[self.address(number)].append((since, float("inf")))
        return self.gone_since


async def churn(stream: Stream, endpoints: Endpoints, seconds: float) -> None:
    """Push changes, a few in each push, as many a second as there shall be."""
    started = time.monotonic()
    nonce = 100
    while (elapsed := time.monotonic() - started) < seconds:
        due = int(elapsed * CHANGES_A_SECOND) - endpoints.changes
        if due > 0:
            updated, removed = endpoints.delta(min(due, endpoints.random.randint(1, 40)))
            nonce += 1
            stream.push(f"c{nonce}", *updated, removed=removed)
        while not stream.requests.empty():
            request = stream.requests.get_nowait()
            assert not request.error_detail.message, request.error_detail.message
        await asyncio.sleep(0.005)


def give_addresses(client: Netns, server: Netns) -> None:
    """Every endpoint's address is the server's."""
    server.run(["ip", "route", "add", "local", "10.240.0.0/12", "dev", "lo"])
    client.run(["ip", "route", "add", "10.240.0.0/12", "via", server.v4])


async def run_churn(seed: int, seconds: float) -> None:
    """The whole of it; fails on a refusal, or a connection to what had long gone."""
    endpoints = Endpoints(seed)
    vips = [socket.inet_ntoa(crowd.vip(number)) for number in range(SERVICES)]
    async with contextlib.AsyncExitStack() as stack:
        places = stack.enter_context(node_places())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        home = stack.enter_context(netns())
        client, server = stack.enter_context(pair())
        give_addresses(client, server)
        daemon = Daemon(places, home, folder)
        async with in_node(home):
            ads = await stack.enter_async_context(serving(XDS_PORT))
        zds = await stack.enter_async_context(enrolling(daemon))
        await daemon.start()
        stack.push_async_callback(daemon.stop, signal.SIGKILL)
        await asyncio.wait_for(
            zds.add(AddWorkload("u1", "client", "app", "default"), client.fd), 20
        )
        stream = await ads.stream()
        await stream.begin()
        first = [crowd.service(number) for number in range(SERVICES)]
        first += [
            crowd.endpoint(number, service)
            for service, there in endpoints.present.items()
            for number in sorted(there)
        ]
        stream.push("n1", *first)
        stream.answer(AUTHORIZATION_TYPE, "n2")
        await until(daemon.ready, "ready after the first push")

        cgroup = places.pods_cgroup()
        programs = []
        for where, code, arguments in (
            (server, SERVER, ()),
            (client, CLIENT, (str(seed), *vips)),
        ):
            command = in_cgroup(cgroup, sys.executable, "-c", code, *arguments)
            process = where.popen(command)
            stack.callback(process.communicate)
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline()
            programs.append(process)
        await churn(stream, endpoints, seconds)

        said = []
        for process in reversed(programs):  # The server outlives its clients.
            output, errors = await asyncio.to_thread(process.communicate, "end\n")
            assert not errors, errors
            said.append(output.splitlines())
        (connects, *failed), accepted = said
        assert not failed, failed[:10]
        assert endpoints.changes >= 0.9 * CHANGES_A_SECOND * seconds
        assert int(connects) > 100 * seconds
        absences = endpoints.absences()
        late = [
            (line, since)
            for line in accepted
            for since, until_ in absences[line.split()[1]]
            if since + GRACE < float(line.split()[0]) < until_
        ]
        assert not late, late[:10]
        assert len(accepted) >= int(connects)
        assert len({line.split()[1] for line in accepted}) > SERVICES * AT_LEAST


async def test_endpoints_come_and_go_under_load() -> None:
    await run_churn(seed=7, seconds=4)


@pytest.mark.soak
async def test_a_minute_of_endpoints_that_come_and_go() -> None:
    await run_churn(seed=int(time.time()), seconds=60)
