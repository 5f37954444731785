"""From an application's connect() to another node, and everything that goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import random
import socket
import ssl
from dataclasses import replace

import h2.errors
import pytest

from bpf.addresses import mapped
from bpf.layout import EventClass, Mark
from daemon.tunnel.outbound import Limits, Opening
from daemon.tunnel.relay import Relay
from daemon.tunnel.report import Report
from tests.daemon.meshes import ip, uid_of, workload
from tests.daemon.tunnel.far import FarResetError, FarStream, echo, far_side
from tests.daemon.tunnel.pki import context as tls
from tests.daemon.tunnel.pki import mesh_authority, new_authority, server_context, who
from tests.daemon.tunnel.rig import PEER, WEB, Near, near_side, until
from ztunnel_compat.names import name_hash
from ztunnel_compat.peer import FLOW_SERVICE, FLOW_TUNNEL, FLOW_WAYPOINT


async def refused(near: Near) -> None:
    """A connection of the application's is reset, at once or when it is read."""

    async def attempt() -> None:
        application = await near.connect()
        await application.receive()

    with pytest.raises(ConnectionResetError):
        await attempt()


def line(near: Near) -> str:
    ((_, _, text),) = near.lines.lines
    return text


async def test_nothing_of_a_tunnel_waits_for_the_garbage_collector() -> None:
    """A crowd that left would take up its memory until the collector comes by."""
    async with far_side() as far, near_side(far.port) as near:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                application = await near.connect()
                await application.send(b"x")
                assert await application.receive_exactly(1) == b"x"
                application.end()
                assert await application.receive() == b""
            broken = await near.connect()
            await broken.send(b"x")
            assert await broken.receive_exactly(1) == b"x"
            broken.reset()
            await until(lambda: len(near.lines.lines) == 4)
            kinds = (Opening, Relay, Report)
            assert not [one for one in gc.get_objects() if isinstance(one, kinds)]
        finally:
            gc.enable()


async def test_bytes_go_both_ways() -> None:
    async with far_side() as far, near_side(far.port) as near:
        application = await near.connect()
        await application.send(b"hello")
        assert await application.receive_exactly(5) == b"hello"
        application.end()
        assert await application.receive() == b""
        await until(lambda: near.lines.lines)
        assert near.account.opened == near.account.closed == 1
        assert (near.account.sent, near.account.received) == (5, 5)
        (headers,) = far.requests
        assert headers[":method"] == "CONNECT"
        assert headers[":authority"] == "127.0.0.1:8080"
        assert headers["baggage"] == "k8s.cluster.name=Kubernetes,k8s.namespace.name=app"
        host, port = application.socket.getsockname()
        assert headers["forwarded"] == f'for="{host}:{port}";host={WEB.hostname}'
        assert len(headers["traceparent"]) == 55
        assert list(near.marks.marks.values()) == [Mark()]


async def test_log_and_labels_say_who() -> None:
    async with far_side() as far, near_side(far.port) as near:
        application = await near.connect()
        source = "{}:{}".format(*application.socket.getsockname())
        application.end()
        assert await application.receive() == b""
        await until(lambda: near.lines.lines)
        ((kind, level, text),) = near.lines.lines
        assert (kind, level) == (EventClass.CLOSED, "info")
        before, _, rest = text.partition(" duration=")
        assert before == (
            f'connection complete\tsrc.addr={source} src.workload="client" '
            'src.namespace="app" src.identity="spiffe://cluster.local/ns/app/sa/client" '
            f'src.cluster="Kubernetes" dst.addr=127.0.0.1:{far.port} '
            f'dst.hbone_addr=127.0.0.1:8080 dst.service="{WEB.hostname}" '
            'dst.workload="server" dst.namespace="app" '
            'dst.identity="spiffe://cluster.local/ns/app/sa/server" dst.cluster="Kubernetes" '
            'direction="outbound" bytes_sent=0 bytes_recv=0'
        )
        assert "error" not in rest
        (labels,) = near.ledger.accounts
        assert labels[0] == "source"
        assert "mutual_tls" in labels
        assert "spiffe://cluster.local/ns/app/sa/client" in labels
        assert "spiffe://cluster.local/ns/app/sa/server" in labels


async def test_client_that_ends_first_still_gets_the_answer() -> None:
    async def answer_at_the_end(stream: FarStream) -> None:
        stream.respond()
        asked = await stream.read_all()
        await stream.write(asked.upper())
        stream.end()

    async with far_side(answer_at_the_end) as far, near_side(far.port) as near:
        application = await near.connect()
        await application.send(b"question")
        application.end()
        assert await application.receive_all() == b"QUESTION"


async def test_server_that_ends_first_still_gets_the_rest() -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def speak_first(stream: FarStream) -> None:
        stream.respond()
        await stream.write(b"bye")
        stream.end()
        got.set_result(await stream.read_all())

    async with far_side(speak_first) as far, near_side(far.port) as near:
        application = await near.connect()
        assert await application.receive_all() == b"bye"
        await application.send(b"and yet")
        application.end()
        assert await got == b"and yet"


async def test_reset_of_the_application_is_a_connect_error() -> None:
    code: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait(stream: FarStream) -> None:
        stream.respond()
        try:
            await stream.read_all()
        except FarResetError as error:
            code.set_result(str(error))

    async with far_side(wait) as far, near_side(far.port) as near:
        application = await near.connect()
        await application.send(b"x")
        await until(lambda: near.outbound.relays)
        application.reset()
        assert await code == "CONNECT_ERROR"
        await until(lambda: near.lines.lines)
        assert "Connection reset by peer" in line(near)


async def test_reset_that_comes_with_bytes() -> None:
    """One wake-up tells of both; libuv makes no second one of an error."""
    gone = asyncio.Event()

    async def wait(stream: FarStream) -> None:
        stream.respond()
        try:
            await stream.read_all()
        except FarResetError:
            gone.set()

    async with far_side(wait) as far, near_side(far.port) as near:
        application = await near.connect()
        await until(lambda: near.outbound.relays)
        application.socket.send(b"x")
        application.reset()
        await gone.wait()


@pytest.mark.parametrize("code", list(h2.errors.ErrorCodes))
async def test_reset_of_the_far_side_is_a_reset(code: h2.errors.ErrorCodes) -> None:
    async def break_off(stream: FarStream) -> None:
        stream.respond()
        await stream.read()
        stream.reset(code)

    async with far_side(break_off) as far, near_side(far.port) as near:
        application = await near.connect()
        await application.send(b"x")
        with pytest.raises(ConnectionResetError):
            await application.receive()
        await until(lambda: near.lines.lines)
        assert code.name in line(near)


async def test_far_side_that_wants_no_more_after_its_end() -> None:
    """RFC 9113 section 8.1; what a server of the h2 crate says when it is done."""

    async def done(stream: FarStream) -> None:
        stream.respond()
        await stream.write(b"all")
        stream.end()
        stream.reset(h2.errors.ErrorCodes.NO_ERROR)

    async with far_side(done) as far, near_side(far.port) as near:
        application = await near.connect()
        assert await application.receive_all() == b"all"
        await until(lambda: near.lines.lines)
        assert "error" not in line(near)


@pytest.mark.parametrize(
    ("status", "flag", "kind"),
    [(503, "CONNECT", EventClass.FAILED), (401, "DENY", EventClass.DENIED)],
)
async def test_refusal_of_the_far_side_is_a_reset(
    status: int, flag: str, kind: EventClass
) -> None:
    async def refuse(stream: FarStream) -> None:
        stream.respond(status, end=True)

    async with far_side(refuse) as far, near_side(far.port) as near:
        await refused(near)
        assert near.account.flags == {flag: 1}
        assert not near.account.opened
        assert near.lines.lines[0][:2] == (kind, "error")
        assert f"http status: {status}" in line(near)
        # The connection between the nodes is as good as before.
        far.handler = echo
        application = await near.connect()
        await application.send(b"hello")
        assert await application.receive_exactly(5) == b"hello"
        assert near.pool.opened == 1


async def test_far_side_that_does_not_answer() -> None:
    async def forget(stream: FarStream) -> None:
        await asyncio.Event().wait()

    limits = Limits(answer=0.05)
    async with far_side(forget) as far, near_side(far.port, limits=limits) as near:
        await refused(near)
        assert near.account.flags == {"CONNECT": 1}
        assert "didn't answer" in line(near)
        await until(lambda: far.tunnels[0].gone)


async def test_server_that_is_killed_resets_what_it_served() -> None:
    async with far_side() as far, near_side(far.port) as near:
        applications = [await near.connect() for _ in range(3)]
        for application in applications:
            await application.send(b"x")
            await application.receive_exactly(1)
        far.connections[0].transport.abort()
        for application in applications:
            with pytest.raises(ConnectionResetError):
                await application.receive()
        assert len(near.lines.lines) == 3
        assert not near.outbound.relays
        assert not list(near.pool.connections())


async def test_server_that_is_killed_in_the_middle_of_much() -> None:
    async with far_side() as far, near_side(far.port) as near:
        application = await near.connect()

        async def pour() -> None:
            while True:
                await application.send(bytes(65536))

        pouring = asyncio.ensure_future(pour())
        received = 0
        while received < 5_000_000:
            received += len(await application.receive())
        far.connections[0].transport.abort()
        # The kernel tells whichever call comes first, and that one alone.
        told = await asyncio.gather(pouring, application.receive_all(), return_exceptions=True)
        assert any(isinstance(one, ConnectionResetError) for one in told)


async def test_nobody_listens() -> None:
    async with far_side() as far, near_side(1) as near:
        await refused(near)
        assert near.account.flags == {"CONNECT": 1}
        assert "Connection refused" in line(near) or "Connect call failed" in line(near)
        assert not far.connections


async def test_destination_that_is_not_known_yet() -> None:
    async with far_side() as far, near_side(far.port) as near:
        near.peer = replace(PEER, destination=name_hash(uid_of("late")))
        application = await near.connect()
        await application.send(b"hello")
        await until(lambda: near.outbound.openings)
        late = replace(workload("late", "127.0.0.1"), service_account="server")
        near.state.apply([late], ())
        near.outbound.on_change()
        assert await application.receive_exactly(5) == b"hello"


async def test_destination_that_stays_unknown() -> None:
    limits = Limits(unknown=0.05)
    async with far_side() as far, near_side(far.port, limits=limits) as near:
        near.peer = replace(PEER, destination=name_hash(uid_of("late")))
        await refused(near)
        assert near.account.flags == {"CONNECT": 1}
        assert "unknown destination" in line(near)


@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        (None, "no_peer"),
        (replace(PEER, flags=FLOW_SERVICE), "not_redirected"),
        (replace(PEER, source=1), "foreign_source"),
    ],
)
async def test_what_the_kernel_did_not_redirect_is_reset(peer: object, reason: str) -> None:
    async with far_side() as far, near_side(far.port) as near:
        near.peer = peer  # type: ignore[assignment]
        await refused(near)
        assert near.outbound.refused == {reason: 1}
        assert not far.connections


async def test_waypoint_is_asked_for_what_was_called() -> None:
    async with (
        far_side(context=server_context(who("waypoint"))) as far,
        near_side(far.port) as near,
    ):
        waypoint = replace(workload("waypoint", "127.0.0.1"), service_account="waypoint")
        near.state.apply([waypoint], ())
        near.peer = replace(
            PEER,
            flags=FLOW_TUNNEL | FLOW_SERVICE | FLOW_WAYPOINT,
            destination=name_hash(waypoint.uid),
            original=mapped(ip("fd00::60")),
            far_port=15088,
        )
        application = await near.connect()
        await application.send(b"hello")
        assert await application.receive_exactly(5) == b"hello"
        assert far.requests[0][":authority"] == "[fd00::60]:80"


async def test_service_may_name_who_answers() -> None:
    async with (
        far_side(context=server_context(who("other", "elsewhere"))) as far,
        near_side(far.port) as near,
    ):
        named = replace(WEB, subject_alt_names=(str(who("other", "elsewhere")), "web.example"))
        near.outbound.routes.service_of = {PEER.target: named}.get
        application = await near.connect()
        await application.send(b"hello")
        assert await application.receive_exactly(5) == b"hello"


async def wrong(far_context: object, match: str, flag: str = "TLS_FAILURE") -> None:
    """A server that isn't trusted gets no request, and the application a reset."""
    async with (
        far_side(context=far_context) as far,  # type: ignore[arg-type]
        near_side(far.port) as near,
    ):
        await refused(near)
        assert not far.requests
        assert near.account.flags == {flag: 1}
        assert match in line(near)
        assert near.pool.failed == 1
        assert not near.pool.groups


async def test_server_of_another_identity() -> None:
    await wrong(
        server_context(who("intruder")), "expected spiffe://cluster.local/ns/app/sa/server"
    )


async def test_server_without_an_identity() -> None:
    authority = mesh_authority()
    context = tls(True, authority, authority.issue("https://web.example"))
    await wrong(context, "no workload identity")


async def test_server_of_another_authority() -> None:
    other = new_authority("other")
    context = tls(True, mesh_authority(), other.issue(who("server")))
    await wrong(context, "CERTIFICATE_VERIFY_FAILED")


async def test_server_with_an_expired_certificate() -> None:
    authority = mesh_authority()
    context = tls(True, authority, authority.issue(who("server"), days=(-1, -0.5)))
    await wrong(context, "CERTIFICATE_VERIFY_FAILED")


async def test_server_that_does_not_trust_us() -> None:
    """It goes without a word, as servers on this event loop do."""
    context = tls(True, new_authority("other"), mesh_authority().issue(who("server")))
    async with far_side(context=context) as far, near_side(far.port) as near:
        await refused(near)
        assert near.account.flags == {"TLS_FAILURE": 1}
        assert "may not trust our certificate" in line(near)


async def test_server_that_says_why_it_does_not_trust_us() -> None:
    context = tls(True, new_authority("other"), mesh_authority().issue(who("server")))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)

        serving = asyncio.ensure_future(asyncio.to_thread(serve))
        async with near_side(listener.getsockname()[1]) as near:
            await refused(near)
            await serving
            assert near.account.flags == {"TLS_FAILURE": 1}
            assert "ALERT_UNKNOWN_CA" in line(near)


async def test_server_that_speaks_something_else() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        await reader.read()
        writer.transport.abort()

    server = await asyncio.start_server(
        serve, "127.0.0.1", 0, ssl=server_context(who("server"))
    )
    async with server, near_side(server.sockets[0].getsockname()[1]) as near:
        await refused(near)
        assert near.account.flags == {"H2_HANDSHAKE_FAILURE": 1}
        assert "broke HTTP/2" in line(near)


async def test_no_certificate_of_ours() -> None:
    async with far_side() as far, near_side(far.port) as near:
        near.contexts.refuses = "the CA can't be reached"
        await refused(near)
        assert near.account.flags == {"IDENTITY_ERROR": 1}
        assert "the CA can't be reached" in line(near)


async def test_much_arrives_whole() -> None:
    """40 MB each way at once, by hash; the client reads and writes in odd sizes."""
    size = 40_000_000
    data = random.Random(1).randbytes(size)
    async with far_side() as far, near_side(far.port) as near:
        application = await near.connect()

        async def pour() -> None:
            view = memoryview(data)
            while view:
                await application.send(bytes(view[:70_001]))
                view = view[70_001:]
            application.end()

        pouring = asyncio.ensure_future(pour())
        found = hashlib.sha256()
        received = 0
        while more := await application.receive(50_021):
            found.update(more)
            received += len(more)
        await pouring
        assert received == size
        assert found.digest() == hashlib.sha256(data).digest()
        await until(lambda: near.lines.lines)
        assert (near.account.sent, near.account.received) == (size, size)


async def test_slow_reader_holds_up_nobody_and_fills_nothing() -> None:
    """One application reads nothing; another's bytes flow through the same connection."""

    async def flood(stream: FarStream) -> None:
        if stream.number == 1:
            stream.respond()
            while True:
                await stream.write(bytes(65536))
        else:
            await echo(stream)

    async with far_side(flood) as far, near_side(far.port) as near:
        slow = await near.connect(receive_buffer=4096)
        await until(lambda: near.outbound.relays)
        ((relay,),) = near.outbound.relays.values()
        await until(lambda: relay.pending)
        busy = await near.connect()
        for _ in range(200):
            await busy.send(bytes(20_000))
            await busy.receive_exactly(20_000)
        assert len(far.connections) == 1
        # What waits is within the stream's window, and what the kernel took.
        assert sum(map(len, relay.pending)) <= 256 * 1024
        # It can still have all of it.
        assert await slow.receive_exactly(8_000_000) == bytes(8_000_000)


async def test_far_side_that_does_not_read_stops_the_application() -> None:
    async def deaf(stream: FarStream) -> None:
        if stream.number == 1:
            stream.respond()
            await asyncio.Event().wait()
        else:
            await echo(stream)

    async with far_side(deaf) as far, near_side(far.port) as near:
        application = await near.connect()
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while True:
                    await application.send(bytes(65536))
                    sent += 65536
        ((relay,),) = near.outbound.relays.values()
        assert relay.sent <= 256 * 1024 + 256 * 1024
        assert relay.stream.queued <= 256 * 1024
        busy = await near.connect()
        await busy.send(bytes(20_000))
        await busy.receive_exactly(20_000)


async def test_more_streams_than_a_connection_takes() -> None:
    async with far_side() as far, near_side(far.port) as near:
        applications = [await near.connect() for _ in range(250)]
        for application in applications:
            await application.send(b"x")
        for application in applications:
            assert await application.receive_exactly(1) == b"x"
        counts = sorted(len(c.streams) for c in far.connections)
        assert sum(counts) == 250
        assert counts[-1] <= 100
        assert len(counts) == 3


async def test_goaway_lets_streams_finish() -> None:
    async with far_side() as far, near_side(far.port) as near:
        old = await near.connect()
        await old.send(b"x")
        await old.receive_exactly(1)
        far.connections[0].goaway(last=1)
        await until(lambda: not next(near.pool.connections()).usable)
        new = await near.connect()
        await new.send(b"y")
        assert await new.receive_exactly(1) == b"y"
        assert len(far.connections) == 2
        await old.send(b"z")
        assert await old.receive_exactly(1) == b"z"
        old.end()
        assert await old.receive() == b""
        # The last stream gone, so is the connection.
        await far.connections[0].closed.wait()


async def test_stream_that_a_goaway_left_out_is_asked_for_again() -> None:
    async def leave_out(stream: FarStream) -> None:
        if len(far.connections) == 1:
            stream.connection.goaway(last=0)
        else:
            await echo(stream)

    async with far_side(leave_out) as far, near_side(far.port) as near:
        application = await near.connect()
        await application.send(b"hello")
        assert await application.receive_exactly(5) == b"hello"
        assert len(far.requests) == 2


async def test_server_that_refuses_streams_for_ever() -> None:
    async def refuse(stream: FarStream) -> None:
        stream.reset(h2.errors.ErrorCodes.REFUSED_STREAM)

    async with far_side(refuse) as far, near_side(far.port) as near:
        await refused(near)
        assert len(far.requests) == 3
        assert "REFUSED_STREAM" in line(near)


async def test_pod_that_leaves_takes_its_connections_along() -> None:
    async with far_side() as far, near_side(far.port) as near:
        application = await near.connect()
        await application.send(b"x")
        await application.receive_exactly(1)
        near.outbound.leave(near.pod)
        with pytest.raises(ConnectionResetError):
            await application.receive()
        near.pool.leave(near.pod.cookie)
        await far.connections[0].closed.wait()
        assert "the pod left" in line(near)


async def test_application_that_is_gone_before_the_answer() -> None:
    ask = asyncio.Event()

    async def late(stream: FarStream) -> None:
        await ask.wait()
        await echo(stream)

    async with far_side(late) as far, near_side(far.port) as near:
        application = await near.connect()
        await until(lambda: far.requests)
        application.reset()
        ask.set()
        await until(lambda: near.lines.lines)
        assert not near.outbound.relays
        assert not near.outbound.openings


async def test_identities_are_not_mixed() -> None:
    """A pod's other account, and another destination, have connections of their own."""
    async with far_side() as far, near_side(far.port) as near:
        first = await near.connect()
        await first.send(b"x")
        await first.receive_exactly(1)
        near.pod = replace(near.pod, identity=who("other"))
        near.outbound.on_change()
        second = await near.connect()
        await second.send(b"x")
        await second.receive_exactly(1)
        assert len(far.connections) == 2
