"""A waypoint without sockets, fed bytes that were sound once, from either side.

What must hold whatever comes: no exception; nothing is left of a connection that has
ended; what an endpoint or a client is sent is sound, and is no more messages than the
waypoint itself counted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, cast

from tests.attacks.strict import REQUEST_LINE, STATUS_LINE, Strict
from tests.attacks.test_endpoints import BAD, CUT, START
from tests.attacks.test_http1_requests import CHUNKS, VECTORS
from tests.support.fuzz import mutate
from tests.waypoint.mesh import Mesh
from tests.waypoint.transcript import Tape
from tests.waypoint.wire import ok, request
from tests.ztunnel_compat.h2.ends import End, Event
from tests.ztunnel_compat.h2.fuzz_bytes import random_bytes
from waypoint.messages import Field
from waypoint.server import begin
from waypoint.worker import Caller
from ztunnel_compat.h2.codes import DATA, END_STREAM, PREFACE, ErrorCode, Role
from ztunnel_compat.h2.encoder import Encoder
from ztunnel_compat.h2.frames import header_frames, pack_header, settings
from ztunnel_compat.h2.section import Section
from ztunnel_compat.peer import parse_peer

UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "A: b")
POST = request("/p", "Content-Length: 5", method="POST", body=b"hello")
CHUNKED = request(
    "/c", "Transfer-Encoding: chunked", "TE: trailers", method="POST",
    body=b"5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
)  # fmt: skip
REQUESTS: tuple[bytes, ...] = (
    request("/", "X-Request-Id: 1", "Cookie: a=b"),
    request("/h", method="HEAD"),
    POST,
    CHUNKED,
    POST + CHUNKED + request("/last"),
    request("/u", *UPGRADE) + b"\x81\x05hello",
    request("/e", "Expect: 100-continue", "Content-Length: 2", method="PUT", body=b"ab"),
    b"OPTIONS * HTTP/1.1\r\nHost: web\r\nConnection: close, X\r\nX: y\r\n\r\n",
    b"GET http://web/a?b HTTP/1.1\r\nHost: web\r\n\r\n",
    *(sent for sent, _ in VECTORS.values() if len(sent) < 2000),
    *(
        request("/", "Transfer-Encoding: chunked", method="POST", body=c)
        for c in CHUNKS.values()
        if len(c) < 2000
    ),
)
RESPONSES: tuple[bytes, ...] = (
    ok(),
    ok(b"", "Set-Cookie: a", "X: y"),
    START + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    START + b"\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\n" + ok(),
    b"HTTP/1.1 204 None\r\nContent-Length: 3\r\n\r\n",
    b"HTTP/1.1 304 Same\r\nETag: a\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbytes",
    ok() + ok(),
    *(sent for sent in BAD.values() if len(sent) < 2000),
    *(START + b"Transfer-Encoding: chunked\r\n\r\n" + c for c in CUT.values() if len(c) < 2000),
)


def http2(*messages: tuple[list[Field], bytes], preface: bytes = b"") -> bytes:
    """Messages on streams of their own, as a sound peer writes them."""
    encoder = Encoder()
    found = [preface, settings({})]
    for number, (fields, content) in enumerate(messages):
        stream = 2 * number + 1
        block = encoder.encode(Section.of(fields))
        found.append(header_frames(stream, block, 16384, end=not content))
        if content:
            found += [pack_header(len(content) << 8 | DATA, END_STREAM, stream), content]
    return b"".join(found)


def asked(path: bytes, *more: Field, method: bytes = b"GET") -> list[Field]:
    start = [(b":method", method), (b":scheme", b"http"), (b":path", path)]
    return [*start, (b":authority", b"web"), *more]


REQUESTS_2 = http2(
    (asked(b"/"), b""),
    (asked(b"/p", (b"content-length", b"5"), method=b"POST"), b"hello"),
    (asked(b"/s", (b"cookie", b"a=b"), (b"cookie", b"c"), method=b"PUT"), b"stream"),
    (asked(b"/w", (b":protocol", b"websocket"), method=b"CONNECT")[:2], b""),
    (asked(b"/h", (b"te", b"trailers"), method=b"HEAD"), b""),
    preface=PREFACE,
)
RESPONSES_2 = http2(
    ([(b":status", b"200"), (b"content-length", b"5")], b"hello"),
    ([(b":status", b"204"), (b"x", b"y")], b""),
    ([(b":status", b"404")], b"nothing there"),
)


class Wired(Tape):
    """A transport whose protocol may change, and that ends when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Any = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast("asyncio.BaseProtocol", self.protocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("10.0.0.1", 4000)}.get(name, super().get_extra_info(name, default))

    def written(self) -> bytes:
        """What was written since the last look."""
        return b"".join(note for note in self.take() if isinstance(note, bytes))


def pieces_of(rng: random.Random, data: bytes) -> list[bytes]:
    """Data cut anywhere, or everywhere."""
    kind = rng.random()
    if kind < 0.4 or len(data) < 2:
        return [data]
    if kind < 0.45 and len(data) < 300:
        return [data[i : i + 1] for i in range(len(data))]
    cuts = sorted(rng.randrange(1, len(data)) for _ in range(rng.randrange(1, 5)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


class Server1:
    """An endpoint in HTTP/1.1: strict in what it takes; says is what it answers with."""

    def __init__(self, tape: Wired, says: Callable[[], list[bytes]]) -> None:
        self.tape = tape
        self.says = says
        self.strict = Strict(REQUEST_LINE)

    @property
    def count(self) -> int:
        return self.strict.count

    def turn(self) -> None:
        """Take what was written, answer what is whole."""
        written = self.tape.written()
        for _ in range(self.strict.feed(written)):
            for piece in self.says():
                if not self.tape.closing:
                    self.tape.protocol.data_received(piece)


class Server2:
    """An endpoint in HTTP/2."""

    def __init__(self, tape: Wired, says: Callable[[], list[bytes]], *, sound: bool) -> None:
        self.tape = tape
        self.says = says
        self.count = 0
        self.sound = sound
        self.end = End(Role.SERVER, react=self.react)
        self.answered = False

    def react(self, end: End, event: Event) -> None:
        kind, stream, *_ = event
        if kind == "request":
            self.count += 1
            if self.sound:
                found = end.connection.streams[stream]
                end.connection.respond(found, [(b":status", b"200")])
                end.connection.send_data(found, b"hello", end=True)

    def turn(self) -> None:
        self.end.connection.receive(self.tape.written())
        fault = self.end.fault
        # Who asks for a flood of answers gets it.
        asked_for = not self.sound and fault is not None
        assert fault is None or (asked_for and fault.code is ErrorCode.ENHANCE_YOUR_CALM), fault
        if not self.sound:
            if self.count and not self.answered:
                self.answered = True
                for piece in self.says():
                    if not self.tape.closing:
                        self.tape.protocol.data_received(piece)
            return
        data = self.end.take()
        if data and not self.tape.closing:
            self.tape.protocol.data_received(data)


class Fuzzed:
    """One mesh, and inputs to it one after the other."""

    def __init__(self, mesh: Mesh, rng: random.Random) -> None:
        self.mesh = mesh
        self.rng = rng
        self.servers: list[Server1 | Server2] = []
        self.http2_server = False
        self.sound_server = True
        worker = mesh.worker
        worker.connect = self.connect
        mesh.log.clear()

    async def connect(self, factory: Callable[[], Any], _host: str, _port: int) -> Any:
        """An endpoint's connection, at once."""
        tape = Wired()
        protocol = tape.protocol = factory()
        server: Server1 | Server2
        if self.http2_server:
            server = Server2(tape, self.answer, sound=self.sound_server)
        else:
            server = Server1(tape, self.answer)
        self.servers.append(server)
        protocol.connection_made(tape)
        return tape, protocol

    def answer(self) -> list[bytes]:
        """What an endpoint in HTTP/1.1, or a broken one in HTTP/2, says."""
        rng = self.rng
        if self.sound_server:
            return [ok()]
        if not self.http2_server:
            return pieces_of(rng, mutate(rng, rng.choice(RESPONSES)))
        if rng.random() < 0.5:
            return pieces_of(rng, random_bytes(rng, Role.CLIENT)[:20_000])
        return pieces_of(rng, mutate(rng, RESPONSES_2))

    def join(self) -> Wired:
        """A client's connection."""
        mesh = self.mesh
        answer = mesh.answer()
        assert answer is not None
        peer = parse_peer(answer)
        target = mesh.worker.targets.find(peer)
        assert target is not None
        tape = Wired()
        tape.protocol = begin(
            mesh.worker, tape, Caller(peer, "spiffe://x", "vip client -"), target
        ) or tape.protocol  # fmt: skip
        return tape

    async def turn(self) -> None:
        """Let everybody act on what there is."""
        for _ in range(2):
            await asyncio.sleep(0)
            for server in self.servers:
                server.turn()
        await asyncio.sleep(0)

    async def one(self) -> None:
        """One input from one side, in one protocol, to the other side in either."""
        rng = self.rng
        worker = self.mesh.worker
        self.sound_server = rng.random() < 0.5
        self.http2_server = rng.random() < 0.5
        self.mesh.ask("two" if self.http2_server else "one")
        client2 = rng.random() < 0.5
        before = worker.stats.requests
        tape = self.join()
        back = Strict(STATUS_LINE)
        end = None
        if self.sound_server:
            if not client2:
                data = mutate(rng, rng.choice(REQUESTS))
            elif rng.random() < 0.5:
                data = mutate(rng, REQUESTS_2)
            else:
                data = random_bytes(rng, Role.SERVER)[:20_000]
        elif client2:
            end = End(Role.CLIENT)
            for _ in range(rng.randrange(1, 4)):
                end.connection.request(asked(b"/"), end=True)
            data = end.take()
        else:
            sent = rng.choice([request("/"), request("/h", method="HEAD"), POST, CHUNKED])
            data = sent * rng.randrange(1, 3)
            back.methods = [sent[: sent.index(b" ")]] * 2
        for piece in pieces_of(rng, data) if end is None else [data]:
            if tape.closing:
                break
            tape.protocol.data_received(piece)
            if rng.random() < 0.3:
                await self.turn()
        await self.turn()
        if not self.sound_server and rng.random() < 0.5:
            self.lose_servers(rng)
            await self.turn()
        self.check(tape, back, end, worker.stats.requests - before)
        self.lose_servers(rng)
        if rng.random() < 0.3 and not tape.closing:
            tape.protocol.eof_received()
        tape.closing = True
        tape.protocol.connection_lost(None)
        await asyncio.sleep(0)
        self.lose_servers(rng)
        self.check_empty()

    def check(self, tape: Wired, back: Strict, end: End | None, requests: int) -> None:
        """Neither side was told more than there was."""
        forwarded = sum(server.count for server in self.servers)
        retries = self.mesh.worker.stats.retries_stale
        assert forwarded <= requests + retries, f"{forwarded} of {requests}"
        self.mesh.worker.stats.retries_stale = 0
        written = tape.written()
        if end is not None:
            end.connection.receive(written)
            assert end.fault is None or end.fault.code is ErrorCode.ENHANCE_YOUR_CALM, end.fault
        elif not self.sound_server:
            back.feed(written)
            assert back.count <= requests

    def lose_servers(self, rng: random.Random) -> None:
        """The endpoints go away."""
        for server in self.servers:
            tape = server.tape
            if not tape.closing and rng.random() < 0.5:
                tape.protocol.eof_received()
            tape.closing = True
            tape.protocol.connection_lost(None)
        self.servers.clear()

    def check_empty(self) -> None:
        """Nothing is left of what has ended."""
        worker = self.mesh.worker
        assert worker.active == 0
        assert not worker.downstreams
        assert not worker.undecided
        for cluster in worker.targets.clusters.clusters.values():
            for endpoint in cluster.balance.endpoints:
                assert not endpoint.idle
                assert not endpoint.shared
                assert endpoint.opening is None
            assert not cluster.queue
