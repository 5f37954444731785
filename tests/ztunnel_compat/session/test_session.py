"""Both ends of a connection, with nothing between them; time is the test's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ztunnel_compat.h2.codes import ErrorCode, Role
from ztunnel_compat.h2.streams import Stream
from ztunnel_compat.hbone import Headers, request_headers
from ztunnel_compat.session.session import Session
from ztunnel_compat.session.settings import CLIENT, SERVER, Timing

TIMING = Timing(ping_every=10.0, ping_timeout=20.0, idle=300.0)
CONNECT = request_headers(
    "10.0.0.2:80", baggage=b"", forwarded_for="", forwarded_host="", traceparent=""
)


class Due:
    """A call at some time."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Time, which passes when it is told to, and turns."""

    def __init__(self) -> None:
        self.now = 1.0
        self.due: list[Due] = []
        self.ends: list[Callable[[], object]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Due:
        self.due.append(Due(self.now + delay, callback))
        return self.due[-1]

    def soon(self, call: Callable[[], object]) -> None:
        self.ends.append(call)

    def turn(self) -> None:
        """Everything that is to be said, and what it brings about."""
        while self.ends:
            ends, self.ends = self.ends, []
            for call in ends:
                call()

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        self.turn()
        while ready := [d for d in self.due if d.at <= until and not d.cancelled]:
            first = min(ready, key=lambda due: due.at)
            self.due.remove(first)
            self.now = first.at
            first.call()
            self.turn()
        self.now = until


class Wire:
    """Carries to the other end, unless it is cut."""

    def __init__(self) -> None:
        self.other: Session | None = None
        self.cut = False
        self.ended = ""

    def write(self, data: bytes) -> None:
        if not self.cut and self.other is not None:
            self.other.received(memoryview(data))

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"


class Client:
    """A stream's owner: notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def on_response(self, headers: Headers, end: bool) -> None:
        self.told.append((dict(headers)[b":status"], end))

    def on_data(self, data: bytes | memoryview, end: bool) -> None:
        self.told.append((bytes(data), end))

    def on_reset(self, code: int, why: str) -> None:
        self.told.append((ErrorCode(code), why))

    def on_writable(self) -> None:
        self.told.append(("writable",))


class Server(Session):
    """Turns requests down with a status, or takes them."""

    status = 200

    def on_request(self, stream: Stream, headers: Headers, end: bool) -> None:
        if self.status == 200:
            self.respond(stream, [(b":status", b"200")])
            stream.data = Client()
        else:
            self.turn_down(stream, self.status)


class Link:
    """Two ends that know each other."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.there, self.back = Wire(), Wire()
        soon = self.loop.soon
        self.client = Session(self.loop, soon, Role.CLIENT, CLIENT, timing=TIMING)
        self.server = Server(self.loop, soon, Role.SERVER, SERVER, timing=Timing())
        self.client.transport, self.there.other = self.there, self.server
        self.server.transport, self.back.other = self.back, self.client
        self.ended: list[str] = []
        self.client.ended = lambda: self.ended.append("client")
        self.server.ended = lambda: self.ended.append("server")
        self.client.begin()
        self.server.begin()
        self.loop.turn()

    def ask(self) -> tuple[Client, Stream]:
        owner = Client()
        stream = self.client.request(CONNECT, owner)
        self.loop.turn()
        return owner, stream


@pytest.fixture
def link() -> Link:
    return Link()


def test_who_answers_pings_is_kept(link: Link) -> None:
    owner, _ = link.ask()
    link.loop.wait(1000.0)
    assert owner.told == [(b"200", False)]
    assert link.ended == []


def test_who_answers_none_is_given_up_with_its_streams(link: Link) -> None:
    owner, _ = link.ask()
    link.back.cut = True
    link.loop.wait(29.0)
    assert link.ended == []
    link.loop.wait(2.0)
    assert link.ended == ["client"]
    assert link.there.ended == "aborted"
    assert owner.told[1:] == [(ErrorCode.CANCEL, "no answer to a PING for 20 s")]


def test_what_nobody_uses_is_closed_in_order(link: Link) -> None:
    link.loop.wait(299.0)
    assert link.client.usable
    link.loop.wait(11.0)
    assert link.ended == ["client", "server"]
    assert (link.there.ended, link.client.error) == ("closed", "")


def test_a_server_that_drains_lets_streams_end(link: Link) -> None:
    owner, stream = link.ask()
    link.server.drain()
    link.loop.turn()
    assert not link.client.usable
    link.client.send_data(stream, b"last words", end=True)
    link.loop.turn()
    theirs = next(iter(link.server.http.streams.values()))
    assert theirs.data.told == [(b"last words", True)]
    link.server.send_data(theirs, b"", end=True)
    link.loop.turn()
    assert owner.told == [(b"200", False), (b"", True)]
    assert sorted(link.ended) == ["client", "server"]


def test_what_is_turned_down_leaves_nothing(link: Link) -> None:
    link.server.status = 503
    owner, _ = link.ask()
    assert owner.told[0] == (b"503", True)
    assert not link.server.open_streams
    assert not link.client.open_streams
    assert link.client.usable


def test_what_breaks_before_a_word_may_be_about_our_certificate() -> None:
    loop = Loop()
    made = Session(loop, loop.soon, Role.CLIENT, CLIENT)
    made.transport = Wire()
    made.begin()
    made.broken("the connection was closed")
    assert "may not trust our certificate" in made.error
    assert made.over


def test_a_fault_is_answered_and_ends_it(link: Link) -> None:
    owner, _ = link.ask()
    link.client.received(memoryview(b"\0\0\0\6\0\0\0\0\1"))
    link.loop.turn()
    assert "the other end broke HTTP/2" in link.client.error
    assert len(owner.told) == 2
    assert link.there.ended == "closed"
