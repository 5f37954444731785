"""Filters that fail in every way there is, each in a real process, and what is seen of it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Iterator

import pytest

from tandem.host.frames import FrameReader
from tests.waypoint.filters.plugin.mesh import NAME, chain, plugged, plugin
from tests.waypoint.filters.plugin.test_filter import version
from tests.waypoint.mesh import Mesh, service, until
from tests.waypoint.wire import client, request
from waypoint.filters.plugin.process import Link, Process, start_process
from waypoint.filters.plugin.version import State

#: What a filter does when it is asked for /bad, and what the log says of it.
RAISED = {
    "raise ValueError('oh no')": "ValueError: oh no",
    "sys.exit(3)": "SystemExit: 3",
    "return 200": "on_request returned int: return a Response",
    "request.headers['x-a'] = 'a\\r\\nx-b: c'": "can't have 'a\\r\\nx-b: c': a line end",
    "request.headers['Host'] = 'b'": "the header host is the waypoint's",
    "request.header": "'Request' object has no attribute 'header'",
    "bytearray(1 << 30)": "MemoryError",
    "self.on_request(request)": "RecursionError",
    "open('/etc/hostname')": "PermissionError",
    "socket.create_connection(('127.0.0.1', 1))": "PermissionError",
    "threading.Thread(target=print).start()": "can't start new thread",
    "os.fork()": "Resource temporarily unavailable",
}
ENDED = {
    "exec('while True: pass')": "took longer than 50 ms",
    "time.sleep(60)": "took longer than 50 ms",
    "[print('x' * 99) for _ in iter(int, 1)]": "took longer than 50 ms",
    "os._exit(7)": "ended with status 7",
    "os.kill(os.getpid(), 11)": "ended by signal 11",
    "[os.write(fd, b'x' * 99) for fd in range(3, 9)]": "spoke out of turn",
}
TRIGGER = """
def on_request(self, request):
    if request.path.startswith("/bad"):
        import os, socket, sys, threading, time
        {fault}
    request.headers["x-asked"] = "1"
"""


async def refused(mesh: Mesh) -> None:
    """A request that fails, and another one that doesn't."""
    async with client(mesh) as peer, client(mesh) as other:
        assert b"x-asked: 1" in (await peer.get())[1]
        head, body = await peer.get("/bad")
        assert head.startswith(b"http/1.1 500")
        assert body == b"a plug-in failed\n"
        # The next one is asked again, by a new process where that is needed.
        assert b"x-asked: 1" in (await other.get())[1]


async def test_what_is_raised_is_the_requests_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with plugged() as mesh:
        for count, (fault, told) in enumerate(RAISED.items(), 1):
            mesh.push(service("web", chain(one=plugin(TRIGGER.format(fault=fault)))))
            await until(lambda: loaded(mesh))
            await refused(mesh)
            assert told in caplog.text
            assert mesh.worker.stats.filters == {f"{NAME}: failed": count}
            assert mesh.worker.stats.local == {"plugin_failed": count}
        assert " 500 UAEX plugin_failed " in (await mesh.lines(2))[1]


def loaded(mesh: Mesh) -> bool:
    """Whether the newest version is in force, alone."""
    (one,) = mesh.worker.plugins.plugins.values()
    for spec in mesh.worker.plugins.configured:
        mesh.worker.plugins.current(spec)
    states = [v.state for v in one.versions.values()]
    return states == [State.READY]


@pytest.mark.parametrize("fault", ENDED)
async def test_a_process_that_has_to_end_is_one_requests_failure(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with plugged(one=plugin(TRIGGER.format(fault=fault))) as mesh:
        await refused(mesh)
        assert ENDED[fault] in caplog.text
        assert mesh.worker.stats.filters == {f"{NAME}: failed": 1}
        assert version(mesh).host.life == 2


async def test_a_traceback_shows_the_filters_own_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    code = plugin("def on_request(self, request):\n  {}['tenant']")
    async with plugged(one=code) as mesh, client(mesh) as peer:
        for _ in range(20):
            await peer.get()
        assert f'File "<{NAME}>", line 4, in on_request' in caplog.text
        assert "{}['tenant']" in caplog.text
        assert "tandem/host" not in caplog.text
        shown = [r for r in caplog.records if "failed: KeyError: 'tenant'" in r.getMessage()]
        assert len(shown) == 5
        assert version(mesh).failures == 20


@pytest.mark.parametrize("fault", ["1/0", "exec('while True: pass')", "os._exit(1)"])
async def test_a_failing_filter_is_bypassed_where_it_may_be(fault: str) -> None:
    code = TRIGGER.format(fault=fault) + "def on_response(self, q, r): r.headers['x-r'] = '1'"
    async with plugged(one=plugin(code, failOpen=True)) as mesh, client(mesh) as peer:
        head, body = await peer.get("/bad")
        assert head.startswith(b"http/1.1 200")
        assert b"x-asked" not in body
        assert b"x-r" not in head
        assert mesh.worker.stats.filters == {f"{NAME}: failed": 1, f"{NAME}: bypassed": 1}


async def test_an_endless_loop_stops_neither_the_waypoint_nor_other_plugins() -> None:
    loops = plugin(TRIGGER.format(fault="exec('while True: pass')"), timeout=2)
    other = plugin("def on_request(self, request): request.headers['x-other'] = '1'")
    async with (
        plugged(two=other, one=loops) as mesh,
        client(mesh) as bad,
        client(mesh) as peer,
    ):
        await peer.get()
        await bad.send(request("/bad"))
        await until(lambda: mesh.worker.stats.requests == 2)
        # The other plug-in is asked, and a third request of this one is held up.
        await peer.send(request("/good"))
        two = mesh.worker.plugins.plugins["tandem.plugin.apps.two"]
        one = mesh.worker.plugins.plugins[NAME]
        (looping,) = one.versions.values()
        await until(lambda: len(looping.host.queue) == 2)
        assert all(v.host.life == 1 and not v.failures for v in two.versions.values())
        # Whoever looks sees the loop go on without the waypoint standing still.
        assert looping.host.process is not None
        await asyncio.sleep(0)
        looping.host.kill("the test has seen enough")
        assert (await bad.response())[0].startswith(b"http/1.1 500")
        assert b"x-asked: 1" in (await peer.response())[1]


async def test_a_process_that_is_killed_is_started_anew() -> None:
    code = TRIGGER.format(fault="pass") + "    request.notes['pid'] = os.getpid()"
    async with plugged(one=plugin(code.replace("    if", "    import os\n    if"))) as mesh:
        async with client(mesh) as peer:
            await peer.get()
            host = version(mesh).host
            for life in (2, 3):
                assert host.process is not None
                os.kill(host.process.pid, signal.SIGKILL)
                await until(lambda life=life: host.life == life and host.ready)
                assert b"x-asked: 1" in (await peer.get())[1]
        assert mesh.worker.stats.filters == {}


async def test_a_process_has_none_of_the_waypoints_sockets() -> None:
    code = """
def on_request(self, request):
    import os
    found = []
    for fd in range(64):
        try:
            found.append(os.fstat(fd).st_mode >> 12)
        except OSError:
            pass
    request.headers["x-open"] = repr(found)
    request.headers["x-environment"] = repr(sorted(os.environ))
"""
    async with plugged(one=plugin(code)) as mesh, client(mesh) as peer:
        _, body = await peer.get()
        # Three times /dev/null (2), and the one socket (12) to the waypoint.
        assert b"x-open: [2, 2, 2, 12]\r\n" in body
        assert b"x-environment: ['LC_CTYPE']\r\n" in body


async def test_what_a_process_knew_of_a_request_is_lost_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    code = """
bodies = ['request']
def on_request(self, request):
    request.state['count'] = 0
def on_body(self, request, data, last, direction):
    request.state['count'] += len(data)
    return str(request.state['count']).encode() + b' '
"""
    async with plugged(one=plugin(code)) as mesh, client(mesh) as peer:
        await peer.send(request("/", "Content-Length: 6", method="POST"))
        await until(lambda: mesh.worker.plugins.plugins)
        await until(lambda: version(mesh).sessions and version(mesh).state is State.READY)
        await peer.send(b"abc")
        await until(lambda: version(mesh).host.number >= 3 and not version(mesh).host.queue)
        await peer.send(b"def")
        assert (await peer.response())[1].endswith(b"3 6 ")
        host = version(mesh).host
        await peer.send(request("/", "Content-Length: 6", method="POST") + b"abc")
        await until(lambda: host.number >= 6 and not host.queue)
        assert host.process is not None
        os.kill(host.process.pid, signal.SIGKILL)
        await until(lambda: host.life == 2 and host.ready)
        await peer.send(b"def")
        assert (await peer.response())[0].startswith(b"http/1.1 500")
        assert "its process ended, with what it knew of the request" in caplog.text


async def test_output_is_logged_within_bounds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    code = """
def on_request(self, request):
    print("one\\ttab")
    for n in range(1000):
        print(n, "x" * 2000)
"""
    async with plugged(one=plugin(code, timeout=5)) as mesh, client(mesh) as peer:
        for _ in range(30):
            await peer.get()
        lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith(NAME)]
        assert f"{NAME}: one\\ttab" in lines
        assert f"{NAME}: (993 lines more)" in lines
        assert max(map(len, lines)) < 450
        assert len(lines) < 200


async def test_too_many_calls_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypoint.filters.plugin.host.MOST_CALLS", 0)
    code = plugin("def on_request(self, request): pass")
    async with plugged(one=code) as mesh, client(mesh) as peer:
        assert (await peer.get())[0].startswith(b"http/1.1 500")
        assert mesh.worker.stats.filters == {f"{NAME}: failed": 1}


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (
            "def __init__(self, config): self.x = config['x']\ndef on_request(self, r): pass",
            "KeyError: 'x'",
        ),
        ("def on_request(self, request): pass\nraise SystemExit", "SystemExit"),
        ("import os; os._exit(1)", "ended with status 1"),
        ("on_reqest = None", "F.on_reqest is never called"),
    ],
)
async def test_what_cannot_be_loaded_fails_as_it_is_configured(
    code: str, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with plugged(one=plugin(code)) as mesh, client(mesh) as peer:
        assert (await peer.get())[0].startswith(b"http/1.1 500")
        assert error in caplog.text
        assert version(mesh).dump()["state"] == "failed"
    async with plugged(one=plugin(code, failOpen=True)) as mesh, client(mesh) as peer:
        assert (await peer.get())[0].startswith(b"http/1.1 200")


async def test_a_client_that_leaves_is_forgotten() -> None:
    code = plugin("def on_request(self, request):\n  import time; time.sleep(0.1)", timeout=5)
    async with plugged(one=code) as mesh:
        async with client(mesh) as peer:
            await peer.send(request("/"))
            await until(lambda: mesh.worker.plugins.plugins and version(mesh).host.ready)
            await until(lambda: version(mesh).host.queue)
        await until(lambda: not version(mesh).sessions)
        async with client(mesh) as peer:
            assert (await peer.get())[0].startswith(b"http/1.1 200")


async def test_a_process_may_be_quicker_than_who_starts_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def late(link: Link, memory: int) -> Awaitable[Process]:
        async def start() -> Process:
            process = await start_process(link, memory)
            await until(lambda: getattr(link.reader, "fed", False))
            return process

        return start()

    class Fed(FrameReader):
        fed = False

        def feed(self, data: bytes) -> Iterator[tuple[dict[str, object], bytes]]:
            yield from super().feed(data)
            self.fed = True

    monkeypatch.setattr("waypoint.filters.plugin.process.FrameReader", Fed)
    monkeypatch.setattr("waypoint.filters.plugin.host.start_process", late)
    code = plugin("def on_request(self, request): request.headers['x-a'] = '1'")
    async with plugged(one=code) as mesh, client(mesh) as peer:
        assert b"x-a: 1" in (await peer.get())[1]
        assert version(mesh).host.life == 1


@pytest.mark.parametrize(("failing", "status"), [(2, b"200"), (3, b"500")])
async def test_a_process_that_does_not_start_is_tried_again(
    failing: int, status: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    async def start(link: Link, memory: int) -> Process:
        tried.append(memory)
        if len(tried) <= failing:
            raise OSError(11, "Resource temporarily unavailable")
        return await start_process(link, memory)

    monkeypatch.setattr("waypoint.filters.plugin.host.start_process", start)
    code = plugin("def on_request(self, request): pass")
    async with plugged(one=code) as mesh, client(mesh) as peer:
        assert (await peer.get())[0].startswith(b"http/1.1 " + status)
        assert len(tried) == 3
