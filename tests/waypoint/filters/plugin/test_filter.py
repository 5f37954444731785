"""What plug-ins do to requests and responses, in processes of their own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.waypoint.filters.plugin.mesh import START, chain, plugged, plugin, struct
from tests.waypoint.mesh import service, until
from tests.waypoint.wire import Peer, client, request

HEADS = """
def on_request(self, request):
    if request.path == "/no":
        return Response(403, {"x-why": "because", "content-type": "text/html"}, "<p>no")
    request.headers["x-caller"] = request.caller.namespace
    request.headers.add("x-many", "1")
    request.headers.add("x-many", "2")
    request.headers.remove("x-gone")
    request.path = "/changed"
def on_response(self, request, response):
    response.headers["x-path"] = request.path
    response.headers.remove("x-served")
    response.status = 201
"""
BODIES = """
def on_body(self, request, data, last, direction):
    print(direction, last)
    if direction == "request":
        return data.upper() + (b"!" if last else b"")
    return data.replace(b"HELLO", b"hello, hello")
"""


async def chunks(peer: Peer) -> bytes:
    """The content of a chunked body."""
    body = b""
    while size := int((await peer.until(b"\r\n")).strip(), 16):
        body += await peer.exactly(size)
        await peer.exactly(2)
    await peer.exactly(2)
    return body


async def test_heads_are_read_and_changed() -> None:
    async with plugged(one=plugin(HEADS)) as mesh, client(mesh) as peer:
        for _ in range(2):
            head, body = await peer.get("/a?b", "X-Gone: 1")
            assert head.startswith(b"http/1.1 201")
            assert b"x-path: /changed" in head
            assert b"x-served" not in head
            assert body.startswith(b"GET /changed HTTP/1.1\r\n")
            assert b"x-caller: apps\r\nx-many: 1\r\nx-many: 2\r\n" in body
            assert b"x-gone" not in body
        # The process forgets requests that are over.
        await until(lambda: not version(mesh).sessions)


async def test_a_plugin_answers_itself() -> None:
    async with plugged(one=plugin(HEADS)) as mesh, client(mesh) as peer:
        head, body = await peer.get("/no")
        assert head.startswith(b"http/1.1 403")
        assert b"x-why: because" in head
        assert head.count(b"content-type") == 1
        assert b"content-type: text/html" in head
        assert body == b"<p>no"
        assert " 403 - plugin_response " in (await mesh.lines(1))[0]


async def test_bodies_pass_piece_by_piece(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with plugged(one=plugin(BODIES)) as mesh, client(mesh) as peer:
        await peer.send(request("/", "Content-Length: 10", method="POST") + b"hel")
        await until(lambda: "request False" in caplog.text)
        await peer.send(b"lo, you")
        head = (await peer.head()).lower()
        assert b"transfer-encoding: chunked" in head
        assert b"content-length" not in head
        body = await chunks(peer)
        assert body.endswith(b"\r\n\r\nhello, hello, YOU!")
        assert b"content-length" not in body
        # Without a body there is nothing to show of the request.
        await peer.send(request("/"))
        assert b"transfer-encoding: chunked" in (await peer.head()).lower()
        assert (await chunks(peer)).startswith(b"GET / HTTP/1.1")
        await until(lambda: not version(mesh).sessions)


async def test_a_large_body_passes_through_several_plugins() -> None:
    grow = "bodies = ['request']\ndef on_body(self, request, data, last, direction):\n"
    first, second = plugin(grow + "  return data + data"), plugin(grow + "  return data[::2]")
    async with plugged(one=first, two=second) as mesh, client(mesh) as peer:
        sent = b"ab" * 500_000
        await peer.send(request("/", f"Content-Length: {len(sent)}", method="POST") + sent)
        head, body = await peer.response()
        assert head.startswith(b"http/1.1 200")
        assert body.partition(b"\r\n\r\n")[2] == b"a" * len(sent)


async def test_trailers_end_a_body() -> None:
    last = "bodies = ['request']\ndef on_body(self, request, data, last, direction):\n"
    code = last + "  return data + (b' end' if last else b'')"
    async with plugged(one=plugin(code)) as mesh, client(mesh) as peer:
        await peer.send(
            request("/", "Transfer-Encoding: chunked", method="POST")
            + b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
        )
        received = mesh.worker.stats
        await until(lambda: received.requests)
        # The server of these tests takes no trailers for an end; see what it was sent.
        assert (await peer.until(b"hello end"))[-9:] == b"hello end"


async def test_a_body_is_waited_for_up_to_a_limit() -> None:
    code = """
body_limit = 8
def on_request(self, request):
    request.headers["x-length"] = str(len(request.body))
"""
    async with plugged(one=plugin(code)) as mesh, client(mesh) as peer:
        await peer.send(request("/", "Content-Length: 8", method="POST") + b"1234")
        await until(lambda: mesh.worker.stats.requests)
        await peer.send(b"5678")
        _, body = await peer.response()
        assert b"x-length: 8" in body
        assert body.endswith(b"12345678")
        await peer.send(request("/", "Content-Length: 9", method="POST") + b"123456789")
        assert (await peer.response())[0].startswith(b"http/1.1 413")


async def test_notes_reach_plugins_behind_and_routes_are_looked_for_anew() -> None:
    first = plugin("def on_request(self, request):\n  request.notes['tenant'] = ['a', 1]")
    second = plugin(
        "def on_request(self, request):\n"
        "  request.headers['x-told'] = repr(request.metadata['tandem.plugin.apps.one'])\n"
        "  request.headers['x-config'] = repr(self.config)\n"
        "  request.reroute = True",
        config={"n": 1, "deep": [True, None, 2.5]},
    )
    async with plugged(one=first, two=second) as mesh, client(mesh) as peer:
        _, body = await peer.get("/")
        assert b"x-told: {'tenant': ['a', 1]}" in body
        assert b"x-config: {'deep': [True, None, 2.5], 'n': 1}" in body


async def test_a_new_version_takes_over_and_one_that_fails_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def says(text: str) -> str:
        return (
            f"def on_response(self, request, response):\n  response.headers['x-v'] = {text!r}"
        )

    async with (
        plugged(one=plugin(says("1"))) as mesh,
        client(mesh) as peer,
        client(mesh) as late,
    ):
        assert b"x-v: 1" in (await peer.get())[0]
        old = version(mesh)
        # A request that is under way when the new one comes.
        await late.send(request("/", "Content-Length: 1", method="POST"))
        await until(lambda: old.sessions)
        mesh.push(service("web", chain(one=plugin(says("2")))))
        while b"x-v: 2" not in (await peer.get())[0]:
            pass
        await late.send(b"x")
        assert b"x-v: 1" in (await late.response())[0]
        await until(lambda: old.host.closed)
        mesh.push(service("web", chain(one=plugin("def on_request(self): pass"))))
        await until(lambda: "can't be loaded" in caplog.text)
        assert "F.on_request is called with request" in caplog.text
        assert b"x-v: 2" in (await peer.get())[0]
        mesh.push(service("web"))
        assert b"x-v" not in (await peer.get())[0]
        await until(lambda: not mesh.worker.plugins.plugins)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may read, as installed packages are."""
    with TemporaryDirectory(prefix="tandem-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


async def test_an_installed_filter_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "    def on_request(self, request):\n        request.headers['x-installed'] = '1'\n"
    (folder / "one_filter.py").write_text(START + code)
    about = folder / "one_filter-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: one-filter\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[tandem.plugins]\none = one_filter:F\n")
    monkeypatch.syspath_prepend(folder)
    async with plugged(one=struct(entryPoint="one")) as mesh, client(mesh) as peer:
        assert b"x-installed: 1" in (await peer.get())[1]


async def test_a_process_keeps_no_request_that_is_over() -> None:
    code = """
bodies = ['request']
def on_request(self, request):
    import gc, time
    if request.path == "/count":
        alive = [each for each in gc.get_objects() if type(each).__name__ == "Request"]
        return Response(200, body=str(len(alive)))
    if request.path == "/slow":
        time.sleep(0.1)
    if request.path == "/bad":
        1 / 0
    request.state["self"] = [request.path]
def on_response(self, request, response): pass
def on_body(self, request, data, last, direction): pass
"""
    async with plugged(one=plugin(code, timeout=5, failOpen=True)) as mesh:
        async with client(mesh) as peer:
            for path in ("/a", "/bad", "/b"):
                assert (await peer.get(path))[0].startswith(b"http/1.1 200")
        async with client(mesh) as peer:
            await peer.send(request("/slow"))
            await until(lambda: version(mesh).host.queue)
        async with client(mesh) as peer:
            await peer.send(request("/c", "Content-Length: 5", method="POST") + b"abc")
            await until(lambda: version(mesh).sessions)
        await until(lambda: not version(mesh).sessions)
        async with client(mesh) as peer:
            assert (await peer.get("/count"))[1] == b"1"


async def test_there_is_an_end_to_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypoint.filters.plugin.plugins.MOST_VERSIONS", 1)
    code = "def on_request(self, request):\n  request.headers['x-a'] = '1'"
    async with plugged(one=plugin(code), two=plugin(code)) as mesh, client(mesh) as peer:
        assert (await peer.get())[0].startswith(b"http/1.1 500")
        assert sum(len(p.versions) for p in mesh.worker.plugins.plugins.values()) == 1


def version(mesh):  # type: ignore[no-untyped-def]
    """The only version that there is."""
    (one,) = mesh.worker.plugins.plugins.values()
    (found,) = one.versions.values()
    return found
