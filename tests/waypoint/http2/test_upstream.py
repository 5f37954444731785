"""gRPC's own client and server, with the waypoint between them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import grpc
import pytest

from tests.waypoint.grpc_service import Client, grpc_client, grpc_server
from tests.waypoint.mesh import Mesh, host, routes, running, service, to, until
from tests.waypoint.test_exchange import closed_port
from ztunnel_compat.model import AppProtocol

T = TypeVar("T")
LARGE = bytes(range(256)) * 4000


def serve(mesh: Mesh, *ports: int, timeout: str = "0s") -> None:
    route = {"match": {"prefix": "/"}, "route": to("web", timeout=timeout)}
    mesh.push(service("web", routes("web", host(route)), speaks=AppProtocol.GRPC))
    for number, port in enumerate(ports):
        mesh.pod(f"web-{number}", "web", port)
    mesh.ask("web")


async def ask(mesh: Mesh, question: Callable[[Client], T]) -> T:
    """Ask in a thread, since gRPC's client blocks."""

    def run() -> T:
        with grpc_client(mesh.port) as client:
            return question(client)

    return await asyncio.to_thread(run)


def failure_of(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


async def test_unary_calls_with_their_metadata_at_both_ends() -> None:
    async with running() as mesh:
        with grpc_server() as (_, port):
            serve(mesh, port)

            def question(client: Client) -> None:
                for _ in range(20):
                    reply, call = client.unary.with_call(b"hello", metadata=(("a", "b"),))
                    assert reply == b"hello"
                    assert dict(call.initial_metadata())["head"] == "1"
                    trailing = dict(call.trailing_metadata())
                    assert (trailing["tail"], trailing["tail-bin"]) == ("2", b"\0\xff")

            await ask(mesh, question)
        lines = await mesh.lines(20)
        assert '] "POST /t.S/unary HTTP/2" 200 - via_upstream - "-" 10 10 ' in lines[0]
        assert lines[0].endswith(" 0")
        assert mesh.worker.stats.upstream_connections == 1


async def test_every_kind_of_streaming() -> None:
    async with running() as mesh:
        with grpc_server() as (_, port):
            serve(mesh, port)

            def question(client: Client) -> None:
                assert list(client.serverstream(b"1000")) == [b"1000"] * 1000
                assert client.clientstream(iter([b"a", b"b", b"c"])) == b"a,b,c"
                assert list(client.bidi(iter([b"ab", b"cd"]))) == [b"ba", b"dc"]
                assert list(client.bidi(iter([]))) == []

            await ask(mesh, question)
        assert all(text.endswith(" 0") for text in await mesh.lines(4))


async def test_a_bidirectional_stream_answers_before_it_ends() -> None:
    async with running() as mesh:
        with grpc_server() as (_, port):
            serve(mesh, port)

            def question(client: Client) -> None:
                answered = threading.Event()

                def messages() -> Iterator[bytes]:
                    yield b"ab"
                    assert answered.wait(5)
                    yield b"cd"

                replies = client.bidi(messages())
                assert next(replies) == b"ba"
                answered.set()
                assert list(replies) == [b"dc"]

            await ask(mesh, question)


async def test_large_messages_both_ways() -> None:
    async with running() as mesh:
        with grpc_server() as (_, port):
            serve(mesh, port)

            def question(client: Client) -> None:
                assert client.unary(LARGE) == LARGE
                assert [len(m) for m in client.bidi(iter([LARGE] * 20))] == [len(LARGE)] * 20

            await ask(mesh, question)


async def test_a_status_without_a_message_and_an_unknown_method() -> None:
    async with running() as mesh:
        with grpc_server() as (_, port):
            serve(mesh, port)

            def question(client: Client) -> None:
                error = failure_of(lambda: client.fails(b""))
                assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
                assert error.details() == "caf\u00e9: no"

            await ask(mesh, question)
        (text,) = await mesh.lines(1)
        assert text.endswith(" 9")


async def test_own_answers_are_grpc_s_for_grpc_callers() -> None:
    async with running() as mesh:
        serve(mesh)
        error = await ask(mesh, lambda client: failure_of(lambda: client.unary(b"x")))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert error.details() == "no healthy upstream"
        serve(mesh, closed_port())
        error = await ask(mesh, lambda client: failure_of(lambda: client.unary(b"x")))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        gone = host({"match": {"prefix": "/"}, "directResponse": {"status": 403}})
        mesh.push(service("web", routes("web", gone), speaks=AppProtocol.GRPC))
        error = await ask(mesh, lambda client: failure_of(lambda: client.unary(b"x")))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        mesh.push(service("web", routes("web"), speaks=AppProtocol.GRPC))
        error = await ask(mesh, lambda client: failure_of(lambda: client.unary(b"x")))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        lines = await mesh.lines(4)
        assert [text.rpartition(" ")[2] for text in lines] == ["14", "14", "7", "12"]
        assert '" 200 UH no_healthy_upstream ' in lines[0]
        assert '" 200 UF upstream_reset_before_response_started{' in lines[1]


async def test_a_route_s_timeout_is_unavailable_as_in_envoy() -> None:
    async with running() as mesh:
        with grpc_server() as (saw, port):
            serve(mesh, port, timeout="0.1s")
            error = await ask(mesh, lambda client: failure_of(lambda: client.waits(b"x")))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert await asyncio.to_thread(saw.cancelled.wait, 5)
        (text,) = await mesh.lines(1)
        assert '" 200 UT upstream_response_timeout ' in text


async def test_a_deadline_travels_and_ends_the_call_on_both_sides() -> None:
    async with running() as mesh:
        with grpc_server() as (saw, port):
            serve(mesh, port)
            await ask(mesh, lambda client: client.unary(b"x", timeout=100))
            assert saw.deadlines[0] is not None
            # What gRPC writes into the header is rounded up.
            assert 0 < saw.deadlines[0] <= 102
            error = await ask(
                mesh, lambda client: failure_of(lambda: client.waits(b"x", timeout=1))
            )
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert await asyncio.to_thread(saw.cancelled.wait, 5)


async def test_a_client_that_cancels_cancels_the_server() -> None:
    async with running() as mesh:
        with grpc_server() as (saw, port):
            serve(mesh, port)

            def question(client: Client) -> None:
                stream = client.endless(b"x")
                assert next(stream) == b"x"
                assert saw.waiting.wait(5)
                assert not saw.cancelled.is_set()
                stream.cancel()
                assert saw.cancelled.wait(5)

            await ask(mesh, question)
        (text,) = await mesh.lines(1)
        assert '" 200 DR http2.remote_reset ' in text


async def test_a_restart_of_the_server_loses_no_call() -> None:
    async with running() as mesh:
        with grpc_server() as (_, port):
            serve(mesh, port)
            await ask(mesh, lambda client: client.unary(b"x"))
        with grpc_server() as (saw, port):
            serve(mesh, port)

            def question(client: Client) -> None:
                for _ in range(100):
                    assert client.unary(b"x") == b"x"

            await ask(mesh, question)
            assert saw.calls == 100


async def test_a_push_leaves_streams_alone() -> None:
    async with running() as mesh:
        with grpc_server() as (_, port):
            serve(mesh, port)
            loop = asyncio.get_running_loop()

            def question(client: Client) -> None:
                pushed = threading.Event()

                def messages() -> Iterator[bytes]:
                    yield b"ab"
                    assert pushed.wait(5)
                    yield b"cd"

                replies = client.bidi(messages())
                assert next(replies) == b"ba"
                asyncio.run_coroutine_threadsafe(push(), loop).result(5)
                pushed.set()
                assert list(replies) == [b"dc"]

            async def push() -> None:
                gone = host({"match": {"prefix": "/"}, "directResponse": {"status": 403}})
                mesh.push(service("web", routes("web", gone), speaks=AppProtocol.GRPC))

            await ask(mesh, question)
            error = await ask(mesh, lambda client: failure_of(lambda: client.unary(b"x")))
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        await until(lambda: len("".join(mesh.log).splitlines()) == 2)
