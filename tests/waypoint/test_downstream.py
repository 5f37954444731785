"""A client's connection, played without sockets and with them."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from tests.waypoint.mesh import Mesh, host, routes, running, service, to, until
from tests.waypoint.transcript import join_client, join_server
from tests.waypoint.wire import Peer, client, ok, request, upstream
from waypoint.worker import Limits

ANSWER = ok(b"hi")


def serve(mesh: Mesh, port: int = 9) -> None:
    """One service with one endpoint."""
    mesh.push(service("web"))
    mesh.pod("web-1", "web", port)
    mesh.ask("web")


# Without sockets


async def test_a_request_is_one_write_and_its_response_another() -> None:
    async with running() as mesh:
        serve(mesh)
        (down, to_client), (up, to_server) = join_client(mesh), join_server(mesh)
        for _ in range(3):
            down.data_received(request("/a", "X-Request-Id: 7", "Accept: */*"))
            assert to_client.take() == []
            assert to_server.take() == [request("/a", "X-Request-Id: 7", "Accept: */*")]
            up.data_received(ANSWER)
            assert to_client.take() == [ANSWER]
            assert to_server.take() == []
        assert mesh.worker.memo.get(request("/a", "X-Request-Id: 7", "Accept: */*"))
        down.connection_lost(None)


async def test_a_request_id_is_added_where_there_is_none() -> None:
    async with running() as mesh:
        serve(mesh)
        (down, _), (up, to_server) = join_client(mesh), join_server(mesh)
        seen = set()
        for _ in range(3):
            down.data_received(request("/a"))
            (sent,) = to_server.take()
            assert isinstance(sent, bytes)
            head, _, line = sent[:-4].rpartition(b"\r\n")
            assert head + b"\r\n\r\n" == request("/a")
            assert line.startswith(b"x-request-id: ")
            seen.add(line)
            up.data_received(ANSWER)
        assert len(seen) == 3
        down.connection_lost(None)


async def test_heads_may_come_byte_by_byte() -> None:
    async with running() as mesh:
        serve(mesh)
        (down, to_client), (up, to_server) = join_client(mesh), join_server(mesh)
        whole = request("/a", "X-Request-Id: 7", "Content-Length: 3", method="POST")
        for byte in b"\r\n" + whole:
            assert to_server.take() == []
            down.data_received(bytes([byte]))
        assert to_server.take() == [whole]
        down.data_received(b"ab")
        down.data_received(b"c" + whole)
        assert to_server.take() == [b"ab", b"c"]
        for byte in ANSWER[:-2]:
            up.data_received(bytes([byte]))
        head = ANSWER[:-2]
        assert to_client.take() == [head]
        up.data_received(b"hi")
        assert to_client.take() == [b"hi"]
        assert to_server.take() == [whole]
        down.connection_lost(None)


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with running() as mesh:
        serve(mesh)
        (down, to_client), (up, to_server) = join_client(mesh), join_server(mesh)
        one, two, three = (request(f"/{n}", "X-Request-Id: 7") for n in range(3))
        down.data_received(one + two + three[:20])
        assert to_server.take() == [one]
        up.data_received(ANSWER)
        assert to_server.take() == [two]
        down.data_received(three[20:])
        assert to_server.take() == []
        up.data_received(ok(b"2"))
        assert to_server.take() == [three]
        up.data_received(ok(b"3"))
        assert to_client.take() == [ANSWER, ok(b"2"), ok(b"3")]
        down.connection_lost(None)


async def test_requests_sent_ahead_are_limited() -> None:
    async with running(Limits(pipelined=1000)) as mesh:
        serve(mesh)
        (down, to_client), (up, to_server) = join_client(mesh), join_server(mesh)
        one = request("/", "X-Request-Id: 7")
        count = 1100 // len(one) + 2
        down.data_received(one * count)
        assert to_client.take() == ["pause"]
        for _ in range(count):
            assert to_server.take() == [one]
            up.data_received(ANSWER)
        notes = to_client.take()
        assert notes.count(ANSWER) == count
        assert [note for note in notes if note != ANSWER] == ["resume"]
        down.connection_lost(None)


async def test_a_client_that_doesn_t_read_gets_no_further_responses() -> None:
    async with running() as mesh:
        serve(mesh)
        (down, to_client), (up, to_server) = join_client(mesh), join_server(mesh)
        one = request("/", "X-Request-Id: 7")
        down.data_received(one)
        down.pause_writing()
        assert to_server.take() == [one, "pause"]
        up.data_received(ANSWER)
        assert to_server.take() == ["resume"]
        for _ in range(3):
            down.data_received(one)
        assert to_server.take() == []
        assert to_client.take() == [ANSWER]
        down.resume_writing()
        assert to_server.take() == [one]
        down.connection_lost(None)


async def test_each_direction_is_held_by_its_reader() -> None:
    async with running() as mesh:
        serve(mesh)
        (down, to_client), (up, to_server) = join_client(mesh), join_server(mesh)
        down.data_received(request("/", "Content-Length: 100", method="POST"))
        up.pause_writing()
        assert to_client.take() == ["pause"]
        up.resume_writing()
        assert to_client.take() == ["resume"]
        to_server.take()
        down.pause_writing()
        down.resume_writing()
        assert to_server.take() == ["pause", "resume"]
        down.connection_lost(None)
        assert to_server.take() == ["abort"]


async def test_a_client_that_stops_sending_is_gone_whatever_is_still_to_be_written() -> None:
    async with running() as mesh:
        serve(mesh)
        (down, to_client), (_, to_server) = join_client(mesh), join_server(mesh)
        down.data_received(request())
        to_client.unsent = 1000
        to_server.take()
        assert not down.eof_received()
        assert to_server.take() == ["abort"]
        down.connection_lost(None)


async def test_holds_end_with_the_exchange() -> None:
    async with running() as mesh:
        serve(mesh)
        (down, to_client), (up, _) = join_client(mesh), join_server(mesh)
        down.data_received(request("/", "Content-Length: 2", method="POST") + b"ab")
        up.pause_writing()
        up.data_received(ANSWER)
        assert to_client.take() == ["pause", ANSWER, "resume"]
        down.connection_lost(None)


@pytest.mark.parametrize("lines", [("Authorization: x",), ("Cookie: x",)])
async def test_secrets_are_remembered_on_their_connection_only(lines: tuple[str]) -> None:
    async with running() as mesh:
        serve(mesh)
        (down, _), (up, _) = join_client(mesh), join_server(mesh)
        for _ in range(4):
            down.data_received(request("/", *lines))
            up.data_received(ANSWER)
        assert mesh.worker.memo.records == {}
        assert down.planner.last_raw == request("/", *lines)
        down.connection_lost(None)


async def test_a_push_applies_to_the_next_request_on_the_same_connection() -> None:
    async with running() as mesh:
        serve(mesh)
        (down, to_client), (up, to_server) = join_client(mesh), join_server(mesh)
        for _ in range(3):
            down.data_received(request("/"))
            up.data_received(ANSWER)
        down.data_received(request("/"))
        gone = host({"match": {"prefix": "/"}, "directResponse": {"status": 410}})
        mesh.push(service("web", routes("web", gone)))
        to_client.take()
        up.data_received(ANSWER)
        assert to_client.take() == [ANSWER]
        to_server.take()
        down.data_received(request("/"))
        (reply,) = to_client.take()
        assert isinstance(reply, bytes)
        assert reply.startswith(b"HTTP/1.1 410 Gone\r\n")
        assert to_server.take() == []
        down.connection_lost(None)


async def test_what_left_this_waypoint_is_told_to_come_another_way() -> None:
    async with running() as mesh:
        serve(mesh)
        (down, to_client), (up, _) = join_client(mesh), join_server(mesh)
        mesh.push(service("web", mine=False))
        down.data_received(request("/"))
        up.data_received(ANSWER)
        assert to_client.take() == [
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: close\r\n\r\nhi", "eof",
        ]  # fmt: skip
        down.connection_lost(None)


# With sockets


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", 426),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/1.1\nHost: a\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n",
         400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        (b"GET /" + b"x" * 70_000, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 403),
        (b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n", 505),
    ],
)  # fmt: skip
async def test_malformed_requests_are_told_and_harm_nobody(raw: bytes, status: int) -> None:
    async with running() as mesh, upstream() as server:
        serve(mesh, server.port)
        async with client(mesh) as other, client(mesh) as bad:
            await bad.send(raw)
            head, _ = await bad.response()
            assert head.startswith(b"http/1.1 %d " % status)
            assert b"connection: close\r\n" in head
            assert await bad.rest() == b""
            assert (await other.get())[1] == b"hello"
        assert len(server.heads) == 1
        lines = await mesh.lines(2)
        assert any(f'HTTP/1.1" {status} ' in text for text in lines)


async def test_broken_chunks_later_on_end_both_sides() -> None:
    got: list[bytes] = []

    async def sink(peer: Peer) -> None:
        got.append(await peer.rest())

    async with running() as mesh, upstream(sink) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(request("/", "Transfer-Encoding: chunked", method="POST"))
            await peer.send(b"3\r\nabc\r\n")
            await until(lambda: server.connections)
            await peer.send(b"zz\r\n")
            head, _ = await peer.response()
            assert head.startswith(b"http/1.1 400 ")
            assert await peer.rest() == b""


async def test_keep_alive_on_both_sides() -> None:
    async with running() as mesh, upstream() as server:
        serve(mesh, server.port)
        async with client(mesh) as first, client(mesh) as second:
            for _ in range(5):
                assert (await first.get())[1] == b"hello"
                assert (await second.get())[1] == b"hello"
        assert server.connections == 1
        assert len(server.heads) == 10


@pytest.mark.parametrize("lines", [("Connection: close",), ("Connection: x, Close",)])
async def test_connections_close_where_asked(lines: tuple[str]) -> None:
    async with running() as mesh, upstream() as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            head, body = await peer.get("/", *lines)
            assert b"connection: close\r\n" in head
            assert body == b"hello"
            assert await peer.rest() == b""
        assert b"onnection" not in server.heads[0]


async def test_a_client_that_goes_takes_its_request_with_it() -> None:
    ended: list[bytes] = []

    async def hang(peer: Peer) -> None:
        await peer.head()
        try:
            ended.append(await peer.rest())
        except ConnectionResetError:
            ended.append(b"reset")

    async with running() as mesh, upstream(hang) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(request())
            await until(lambda: server.connections)
            await asyncio.sleep(0)
        await until(lambda: ended)
        (text,) = await mesh.lines(1)
        assert " 0 DC downstream_remote_disconnect " in text


async def test_a_slow_head_times_out() -> None:
    async with running(Limits(head=0.1)) as mesh:
        serve(mesh)
        async with client(mesh) as peer:
            await peer.send(b"GET / HT")
            head, _ = await peer.response()
            assert head.startswith(b"http/1.1 408 ")
            assert await peer.rest() == b""


async def test_an_idle_connection_is_closed() -> None:
    async with running(Limits(idle=0.1)) as mesh:
        serve(mesh)
        async with client(mesh) as peer:
            assert await peer.rest() == b""


async def test_curl_speaks_to_it() -> None:
    async with running() as mesh, upstream() as server:
        serve(mesh, server.port)
        url = f"http://127.0.0.1:{mesh.port}/"
        done = await asyncio.to_thread(
            subprocess.run,
            ["curl", "-sS", "-m", "5", url, url],
            capture_output=True,
            check=True,
        )
        assert done.stdout == b"hellohello"


async def test_routes_change_under_a_connection() -> None:
    async with (
        running() as mesh,
        upstream(None, ok(b"1")) as one,
        upstream(None, ok(b"2")) as two,
    ):
        mesh.pod("one", "v1", one.port)
        mesh.pod("two", "v2", two.port)
        mesh.push(service("v1"), service("v2"))
        mesh.ask("web")
        async with client(mesh) as peer:
            for name in ("v1", "v2", "v1"):
                everything = {"name": name, "match": {"prefix": "/"}, "route": to(name)}
                mesh.push(service("web", routes("web", host(everything))))
                for _ in range(3):
                    assert (await peer.get())[1] == name[1:].encode()


async def test_a_closing_connection_waits_for_its_bytes_but_not_for_ever() -> None:
    async with running() as mesh:
        serve(mesh)
        down, to_client = join_client(mesh)
        down.drain()
        assert to_client.take() == ["eof"]
        down.data_received(request())
        now = down.deadline
        to_client.unsent = 500
        later = down.due(now)
        assert later == now + mesh.worker.limits.flush
        to_client.unsent = 400
        assert down.due(later) == later + mesh.worker.limits.flush
        assert down.due(later + 1000) is None
        assert to_client.take() == ["abort"]
        down.connection_lost(None)
