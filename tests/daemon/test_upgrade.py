"""Restarts and upgrades under traffic: no connection fails, and no pin is left.

The node agent is a real process, killed and started from one source tree or
another. A client calls a service and a pod every 5 ms all the while.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bpf import kernel
from bpf.errors import KernelError
from bpf.knobs import Knobs
from bpf.loader import stage
from bpf.sources import MAPS, PROGRAMS
from bpf.sources import Place as At
from daemon.errors import KernelProgramsError
from daemon.upgrade import take_over
from tests.daemon.meshes import uid_of
from tests.daemon.process import (
    ROOT,
    XDS_PORT,
    Daemon,
    NodePlaces,
    PodProgram,
    in_node,
    pod,
    until,
    web,
)
from tests.support.netns import Netns, lan, netns
from tests.ztunnel_compat.ads_server import AdsServer, serving
from ztunnel_compat.drivers.zds_server import ZdsServer
from ztunnel_compat.errors import ZdsError
from ztunnel_compat.xds import AUTHORIZATION_TYPE
from ztunnel_compat.zds import AddWorkload

VIP = "10.96.0.1"

#: Echoes; asks who calls at every accept. Says how many it knew, and not, when asked.
SERVER = """
import selectors, socket, sys
listener = socket.create_server((sys.argv[1], 8080), backlog=1024)
waiting = selectors.DefaultSelector()
waiting.register(listener, selectors.EVENT_READ)
waiting.register(sys.stdin, selectors.EVENT_READ)
known = unknown = 0
print("listening", flush=True)
while True:
    for key, _ in waiting.select():
        if key.fileobj is listener:
            accepted = listener.accept()[0]
            waiting.register(accepted, selectors.EVENT_READ)
            try:
                accepted.getsockopt(6, 200, 72)
                known += 1
            except OSError:
                unknown += 1
        elif key.fileobj is sys.stdin:
            sys.stdin.readline()
            print(known, unknown, flush=True)
        elif data := key.fileobj.recv(1024):
            key.fileobj.sendall(data)
        else:
            waiting.unregister(key.fileobj)
            key.fileobj.close()
"""

#: Every 5 ms: a new connection to each place, and a word over one made at the start.
CALLER = """
import json, select, socket, sys, time
places = [(sys.argv[1], 80), (sys.argv[2], 8080)]
told = {"calls": 0, "words": 0, "errors": []}

def call(sock):
    sock.sendall(b"x")
    if sock.recv(1) != b"x":
        raise OSError("no echo")

def attempt(what, counted, do):
    try:
        do()
        told[counted] += 1
    except OSError as error:
        told["errors"].append(f"{what}: {error}")

def fresh(place):
    with socket.create_connection(place, 5) as sock:
        if sock.getpeername() != place:
            raise OSError(f"peer is {sock.getpeername()}")
        call(sock)

old = [socket.create_connection(place, 5) for place in places]
print("calling", flush=True)
due = time.monotonic()
while True:
    due = max(due + 0.005, time.monotonic())
    if select.select([sys.stdin], [], [], max(0, due - time.monotonic()))[0]:
        if not sys.stdin.readline():
            break
        print(json.dumps(told), flush=True)
    for place, sock in zip(places, old):
        attempt(f"new to {place}", "calls", lambda: fresh(place))
        attempt(f"old to {place}", "words", lambda: call(sock))
"""


@dataclass
class Mesh:
    """A node under traffic."""

    daemon: Daemon
    ads: AdsServer
    zds: ZdsServer
    client: Netns
    server: Netns
    caller: PodProgram
    serving: PodProgram

    async def start(self, source: Path = ROOT) -> None:
        """Kill the node agent, if there is one, and start another."""
        if self.daemon.process is not None:
            assert await self.daemon.stop(signal.SIGKILL) == -signal.SIGKILL
        self.daemon.source = source
        await self.daemon.start()

    async def push(self) -> None:
        """Answer the node agent's new stream with the whole mesh, until it is ready."""
        stream = await asyncio.wait_for(self.ads.stream(), 120)
        await stream.begin()
        stream.push(
            "n1", web(VIP), pod("web", self.server.v4, "web"), pod("client", self.client.v4)
        )
        stream.answer(AUTHORIZATION_TYPE, "n2")
        await until(self.daemon.ready, "ready after the push")

    def told(self) -> Any:
        """What the client has to say."""
        return json.loads(self.caller.ask(""))

    async def calls(self, number: int = 20) -> None:
        """Until there were so many calls more, of which none failed."""
        before = self.told()["calls"]
        await until(lambda: self.told()["calls"] >= before + number, "calls go on")
        assert self.told()["errors"] == []

    def pins(self) -> dict[str, set[str]]:
        """All that is pinned."""
        return {
            folder.name: {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            for folder in self.daemon.places.pin_dir.iterdir()
        }


@pytest.fixture
async def mesh(places: NodePlaces) -> AsyncIterator[Mesh]:
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        home = stack.enter_context(netns())
        client, server = stack.enter_context(lan(2))
        daemon = Daemon(places, home, folder)
        async with in_node(home):
            ads = await stack.enter_async_context(serving(XDS_PORT))
        zds = ZdsServer(daemon.zds_path)
        running = asyncio.ensure_future(zds.run())
        stack.callback(running.cancel)
        await daemon.start()
        stack.push_async_callback(daemon.stop, signal.SIGKILL)
        for uid, name, place in (("u1", "client", client), ("u2", "web", server)):
            workload = AddWorkload(uid, name, "app", "default")
            await asyncio.wait_for(zds.add(workload, place.fd), 120)
        serving_pod = PodProgram(server, places.pods_cgroup(), SERVER, server.v4)
        stack.callback(serving_pod.close)
        assert serving_pod.line() == "listening"
        made = Mesh(daemon, ads, zds, client, server, serving_pod, serving_pod)
        await made.push()
        made.caller = PodProgram(client, places.pods_cgroup(), CALLER, VIP, server.v4)
        stack.callback(made.caller.close)
        assert made.caller.line() == "calling"
        yield made


@pytest.fixture(scope="module")
def upgraded() -> Iterator[Path]:
    """A build whose addresses and flows hold eight bytes more."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for package in ("bpf", "daemon", "ztunnel_compat", "proto"):
            skipped = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, tree / package, ignore=skipped)
        header = tree / "bpf" / "include" / "abi.h"
        text = header.read_text()
        for struct in ("address", "flow"):
            _, _, body = text.partition(f"struct {struct} {{")
            fields, _, _ = body.partition("};")
            assert fields.count("__u64") >= 2
            text = text.replace(fields, fields + "\t__u8 pad_more[8];\n")
        header.write_text(text)
        subprocess.run([sys.executable, "-m", "bpf.generate"], cwd=tree, check=True)
        yield tree


async def test_no_connection_fails(mesh: Mesh, upgraded: Path) -> None:
    daemon = mesh.daemon
    await mesh.calls()
    pins = mesh.pins()
    assert set(pins) == {"maps", "progs", "links", "meta"}
    assert pins["maps"] == set(MAPS)
    assert pins["progs"] == {program.name for program in PROGRAMS}
    ours = {program.name for program in PROGRAMS if program.place is At.CGROUP}
    assert ours < pins["links"]
    assert len(pins["links"] - ours) == 2  # the pods'

    # Killed and started.
    await mesh.start()
    await mesh.push()
    assert "kernel programs adopted" in daemon.log
    await mesh.calls()

    # An upgrade, with the control plane away for a while: the old ones serve, known
    # pods stay, and new ones are refused, with the reason.
    await mesh.start(upgraded)
    await until(lambda: has_pods(daemon, 2), "the known pods are enrolled")
    assert "kernel programs staged" in daemon.log
    new = AddWorkload("u3", "new", "app", "default")
    with netns() as late:
        with pytest.raises(ZdsError, match="takes over from one with other maps"):
            await mesh.zds.add(new, late.fd)
        await mesh.calls(200)
        assert "staging" in mesh.pins()
        await mesh.push()
        assert "that were staged are in force" in daemon.log
        await mesh.zds.add(new, late.fd)
        await mesh.zds.remove("u3")
    await mesh.calls(200)
    assert mesh.pins() == pins
    dump = await daemon.dump()
    assert dump["counters"]["CONNECT_SERVICE"] >= 200  # counters and flows were kept
    assert {p["uid"] for p in dump["enrolled"].values()} == {uid_of("client"), uid_of("web")}

    # Rolled back.
    await mesh.start()
    await mesh.push()
    assert "kernel programs staged" in daemon.log
    await mesh.calls(200)
    assert mesh.pins() == pins

    # An upgrade that dies before it is ready leaves nothing.
    await mesh.start(upgraded)
    await asyncio.wait_for(mesh.ads.stream(), 120)
    await until(lambda: has_pods(daemon, 2), "the known pods are enrolled")
    await mesh.start()
    await mesh.push()
    assert "kernel programs adopted" in daemon.log
    await mesh.calls()
    assert mesh.pins() == pins

    told = mesh.told()
    assert told["errors"] == []
    assert told["words"] >= told["calls"] - 2
    known, unknown = map(int, mesh.serving.ask("").split())
    assert (known >= told["calls"], unknown) == (True, 0)


async def test_what_is_staged_waits_for_zds_too(loaded: NodePlaces) -> None:
    staged = stage(loaded.pin_dir, loaded.cgroup, Knobs(pods=7))
    told = asyncio.Event()
    taking = asyncio.ensure_future(take_over(staged, told))
    await asyncio.sleep(0)
    assert staged.waiting
    told.set()
    await taking
    assert not staged.waiting
    assert not (loaded.pin_dir / "staging").exists()
    await take_over(staged, asyncio.Event())  # nothing to do


async def test_what_can_not_be_put_in_force_ends_the_process(
    loaded: NodePlaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise KernelError("bpf LINK_UPDATE", errno.EPERM)

    staged = stage(loaded.pin_dir, loaded.cgroup, Knobs(pods=7))
    monkeypatch.setattr(kernel, "update_link", refuse)
    told = asyncio.Event()
    told.set()
    with pytest.raises(KernelProgramsError, match="exclusive program"):
        await take_over(staged, told)
    assert staged.waiting


async def has_pods(daemon: Daemon, count: int) -> bool:
    status, dump = await daemon.get("15000/config_dump")
    return status == 200 and len(dump["enrolled"]) == count
