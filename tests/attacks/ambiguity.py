"""What four proxies read in the same bytes: ``python -m tests.attacks.ambiguity``.

Each request goes raw through a waypoint, Envoy, nginx and HAProxy to one upstream, which
notes what it was asked; each answer comes raw from there, and what a client gets is noted.
Where their readings differ, they are written to ambiguous.json.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import uvloop

from tests.attacks.corpus import numbered, requests, responses
from tests.support.envoy import bootstrap, cluster, envoy, http_listener
from tests.waypoint.mesh import running, service

LIST = Path(__file__).with_name("ambiguous.json")
PROXIES = ("waypoint", "envoy", "nginx", "haproxy")
#: Seconds of silence after which a message that wasn't answered counts as not yet whole;
#: and how many are under way at a time with each proxy.
PATIENCE, TOGETHER = 2.5, 150
#: How long an upstream's connection stays open after an ambiguous answer.
MOMENT = 0.3
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_http_version 1.1; proxy_set_header Host $http_host;
      proxy_set_header Connection ""; proxy_next_upstream off;
    }}
  }}
}}
"""
HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
  retries 0
frontend in
  bind 127.0.0.1:{port}
  default_backend out
backend out
  http-reuse never
  server one 127.0.0.1:{upstream}
"""
#: A request as an upstream was asked it: method, target, host, content.
Asked = tuple[str, str, str, str]


class Upstream:
    """Notes what it is asked, by the number in the target."""

    def __init__(self) -> None:
        #: Raw answers, by number.
        self.raw: dict[int, bytes] = {}
        self.asked: dict[int, list[Asked]] = {}
        self.writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """The port; at the end every connection is gone."""
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=2048)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for writer in list(self.writers):
                writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, ValueError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                content = await read_content(reader, head.lower())
                start, *lines = head.decode("latin-1")[:-4].split("\r\n")
                method, target, _ = start.split(" ", 2)
                pairs = (line.partition(":") for line in lines)
                hosts = [v.strip() for name, _, v in pairs if name.lower() == "host"]
                number = re.search(r"([0-9]+)-", target)
                seen = self.asked.setdefault(int(number[1]) if number else -1, [])
                seen.append((method, target, ",".join(hosts), content.decode("latin-1")))
                if number and int(number[1]) in self.raw and "-end" not in target:
                    writer.write(self.raw[int(number[1])])
                    asyncio.get_running_loop().call_later(MOMENT, writer.close)
                    continue
                answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
                writer.write(answer + b"ok" * (method != "HEAD"))
        self.writers.discard(writer)
        writer.close()


async def read_content(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """A request's content, in the framing that it came in."""
    if re.search(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", head):
        content = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            content += await reader.readexactly(size)
            await reader.readexactly(2)
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return content
    length = re.search(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", head)
    return await reader.readexactly(int(length[1])) if length else b""


async def send(port: int, data: bytes) -> tuple[str, bool]:
    """Send it; what comes back, and whether its end came too."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = b""
    ended = True
    with contextlib.suppress(OSError):
        writer.write(data)
        try:
            while True:
                async with asyncio.timeout(PATIENCE):
                    piece = await reader.read(65536)
                if not piece:
                    break
                said += piece
        except TimeoutError:
            ended = False
    writer.transport.abort()
    return said.decode("latin-1"), ended


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@asynccontextmanager
async def program(port: int, *command: str) -> AsyncIterator[None]:
    """A proxy's process, once it listens."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(10):
            while True:
                assert process.returncode is None, command
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def proxies(upstream: int) -> AsyncIterator[Mapping[str, int]]:
    """All four of them; their ports."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        mesh = await stack.enter_async_context(running())
        mesh.push(service("web"))
        mesh.pod("web-1", "web", upstream)
        mesh.ask("web")
        route = {"match": {"prefix": "/"}, "route": {"cluster": "up", "timeout": "0s"}}
        host = {"name": "h", "domains": ["*"], "routes": [route]}
        listener = http_listener("in", {"virtualHosts": [host]})
        # As Istio has it, and the waypoint.
        listener["filterChains"][0]["filters"][0]["typedConfig"]["normalizePath"] = True
        config = bootstrap([listener], [cluster("up", upstream)])
        found = {
            "waypoint": mesh.port,
            "envoy": (await stack.enter_async_context(envoy(config)))["in"],
        }
        for name, text, *command in (
            ("nginx", NGINX, "/usr/sbin/nginx", "-c"),
            ("haproxy", HAPROXY, "/usr/sbin/haproxy", "-q", "-db", "-f"),
        ):
            port = found[name] = free_port()
            file = Path(folder, name)
            file.write_text(text.format(folder=folder, port=port, upstream=upstream))
            await stack.enter_async_context(program(port, *command, str(file)))
        yield found


def reading(said: str, asked: list[Asked], number: int, *, closed: bool) -> str:
    """One proxy's reading of a request, in words that can be compared.

    The sound request at the end counts as answered or not; what is told of the ambiguous
    one is what the upstream was asked, or that it was refused.
    """
    statuses = re.findall(r"HTTP/1\.[01] ([2-5][0-9]{2}) ", said)
    end = f"/{number}-end"
    requests = [request for request in asked if request[1] != end]
    ended = "" if len(requests) < len(asked) else ", the next request with it"
    if not requests:
        if not statuses:
            return "closes" if closed else "waits for more"
        if statuses[0][0] in "45":
            return "refuses"
        return f"answers {statuses[0]} itself"
    told = []
    for method, target, host, content in requests:
        place = target.replace(f"{number}-", "=0=")
        told.append(f"{method} {place!r} of {host!r}" + (f", {content!r}" if content else ""))
    return " and ".join(told) + ended


def understood(said: str, *, closed: bool) -> str:
    """What a client understands of two answers, the first an ambiguous one."""
    told = []
    while said:
        head, found, said = said.partition("\r\n\r\n")
        status = re.match(r"HTTP/1\.[01] ([0-9]{3})", head)
        if not found or status is None:
            told.append("something that is no answer")
            break
        if status[1] in {"502", "503"}:
            told.append("refuses")
            break
        if status[1][0] == "1":
            told.append(status[1])
            continue
        content, said, whole = content_of(head.lower(), said, status[1])
        told.append(f"{status[1]} {content!r}" + ("" if whole else ", cut off"))
    return " and ".join(told) or ("closes" if closed else "waits for more")


def content_of(head: str, said: str, status: str) -> tuple[str, str, bool]:
    """An answer's content, what comes after it, and whether it is whole."""
    length = re.search(r"\r\ncontent-length:[ \t]*([0-9]+)", head)
    if status in {"204", "304"}:
        return "", said, True
    if re.search(r"\r\ntransfer-encoding:[ \t]*chunked", head):
        content = ""
        while line := re.match(r"([0-9a-fA-F]+)[^\r\n]*\r\n", said):
            size = int(line[1], 16)
            start = line.end()
            if not size:
                _, found, rest = said[start - 2 :].partition("\r\n\r\n")
                return content, rest, bool(found)
            content += said[start : start + size]
            said = said[start + size + 2 :]
        return content, "", False
    if length is not None:
        size = int(length[1])
        return said[:size], said[size:], len(said) >= size
    return said, "", True


Found = dict[str, dict[str, str]]


async def read_all() -> tuple[Found, Found]:
    """Requests and responses: name → proxy → its reading."""
    upstream = Upstream()
    asking: Found = {name: {} for name in requests()}
    answering: Found = {name: {} for name in responses()}
    names = [(asking, name) for name in asking] + [(answering, name) for name in answering]
    for place in range(len(PROXIES)):
        for at, name in enumerate(answering, len(asking)):
            upstream.raw[1 + at * len(PROXIES) + place] = responses()[name]
    async with upstream.listening() as port, proxies(port) as ports:

        async def through(place: int, proxy: str) -> None:
            room = asyncio.Semaphore(TOGETHER)

            async def one(at: int, found: Found, name: str) -> None:
                number = 1 + at * len(PROXIES) + place
                data = numbered(number, name if found is asking else "a sound one")
                async with room:
                    said, closed = await send(ports[proxy], data)
                if found is asking:
                    asked = upstream.asked.get(number, [])
                    found[name][proxy] = reading(said, asked, number, closed=closed)
                else:
                    found[name][proxy] = understood(said, closed=closed)

            async with asyncio.TaskGroup() as group:
                for at, (found, name) in enumerate(names):
                    group.create_task(one(at, found, name))

        async with asyncio.TaskGroup() as group:
            for place, proxy in enumerate(PROXIES):
                group.create_task(through(place, proxy))
    return asking, answering


def ambiguous(found: Found) -> Found:
    """The messages of which two proxies have different readings."""
    return {
        name: {proxy: readings[proxy] for proxy in PROXIES}
        for name, readings in found.items()
        if len(set(readings.values())) > 1
    }


if __name__ == "__main__":
    asking, answering = uvloop.run(read_all())
    listed = {"requests": ambiguous(asking), "responses": ambiguous(answering)}
    LIST.write_text(json.dumps(listed, indent=1) + "\n")
