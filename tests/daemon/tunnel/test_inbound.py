"""HBONE into a pod, by a client on another HTTP/2 implementation and real TLS."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import h2.errors
import pytest

from bpf.addresses import mapped
from bpf.layout import FlowFlag, Guard, GuardFlag, LocalAddress
from daemon.policies.identities import identity_hash
from daemon.tunnel.bounds import Bound, Limits
from daemon.tunnel.inbound import InboundTunnel
from daemon.tunnel.relay import Relay
from daemon.tunnel.report import Report
from tests.bpf.engine import Engine, engine, packed, peer
from tests.daemon.meshes import ip
from tests.daemon.tunnel.caller import ResetError
from tests.daemon.tunnel.fuzz_inbound import fuzz
from tests.daemon.tunnel.pki import (
    context,
    mesh_authority,
    new_authority,
    who,
)
from tests.daemon.tunnel.pods import CLIENT, PORT, SERVER, WHO, Node, serving, until
from tests.support.netns import pair
from tests.ztunnel_compat.policies import exact, policy, when
from ztunnel_compat.hbone import Authority
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import ApplicationTunnel
from ztunnel_compat.names import name_hash, target_hash
from ztunnel_compat.policy import Action
from ztunnel_compat.proxy_protocol import ProxyHeader, parse_proxy

DENY = policy(
    "deny",
    when(principals=(exact("cluster.local/ns/app/sa/client"),)),
    action=Action.DENY,
)


@pytest.mark.parametrize("family", [4, 6])
async def test_bytes_go_both_ways_and_ends_are_ends(family: int) -> None:
    async with serving() as node:
        address = node.pod.v4 if family == 4 else node.pod.v6
        authority = f"[{address}]:{PORT}" if family == 6 else f"{address}:{PORT}"
        await node.listen(address=address)
        async with node.call(address=address) as caller:
            stream = caller.connect(authority)
            assert await stream.status() == 200
            await stream.write(b"hello")
            assert await stream.exactly(5) == b"hello"
            stream.end()
            assert await stream.rest() == b""
        await until(lambda: not node.server.connections)
        (line,) = node.log.lines
        assert f"dst.hbone_addr={authority}" in line
        assert 'src.identity="spiffe://cluster.local/ns/app/sa/client"' in line
        assert 'direction="inbound" bytes_sent=5 bytes_recv=5' in line


async def test_the_answer_says_who_answers() -> None:
    async with serving() as node:
        await node.listen()
        async with node.call() as caller:
            headers = await caller.connect(node.authority).headers()
            assert "k8s.namespace.name=app" in headers["baggage"]


async def test_many_streams_share_a_connection() -> None:
    async with serving() as node:
        await node.listen()
        async with node.call() as caller:
            await caller.settings.wait()
            streams = [caller.connect(node.authority) for _ in range(100)]
            for number, stream in enumerate(streams):
                assert await stream.status() == 200
                await stream.write(b"%d" % number)
            for number, stream in enumerate(streams):
                assert await stream.exactly(len(b"%d" % number)) == b"%d" % number
            assert node.server.connections == 1
            assert node.server.tunnels == 100


async def test_half_closed_either_way() -> None:
    async def last_word(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        got.append(await reader.read())
        writer.close()

    got: list[bytes] = []
    async with serving() as node:
        await node.listen(last_word)
        async with node.call() as caller:
            stream = caller.connect(node.authority)
            assert await stream.rest() == b""
            await stream.write(b"still here")
            stream.end()
            await until(lambda: got == [b"still here"])


async def test_an_application_s_reset_is_a_reset() -> None:
    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        opened = writer.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with serving() as node:
        await node.listen(slam)
        async with node.call() as caller:
            stream = caller.connect(node.authority)
            await stream.write(b"x")
            with pytest.raises(ResetError, match="CONNECT_ERROR"):
                await stream.rest()


async def test_a_client_s_reset_is_a_reset() -> None:
    broken = asyncio.Event()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionResetError:
            broken.set()

    async with serving() as node:
        await node.listen(read)
        async with node.call() as caller:
            stream = caller.connect(node.authority)
            assert await stream.status() == 200
            stream.reset(h2.errors.ErrorCodes.CONNECT_ERROR)
            async with asyncio.timeout(10):
                await broken.wait()


# What the application's side is told


async def test_the_kernel_is_told_who_connects() -> None:
    async with serving() as node:
        await node.listen()
        async with node.call() as caller:
            forwarded = ("forwarded", f'for="{node.client.v4}:4711"')
            assert await caller.connect(node.authority, forwarded).status() == 200
            (mark,) = node.marks.marks
            assert mark.flags == FlowFlag.TUNNELLED
            assert (mark.far, mark.far_port) == (mapped(ip(node.client.v4)), 4711)
            assert (mark.original, mark.original_port) == (mapped(ip(node.pod.v4)), PORT)
            assert mark.source == name_hash(CLIENT)
            assert mark.destination == name_hash(SERVER)
            assert mark.target == target_hash(name_hash(SERVER), PORT)
            assert mark.identity == identity_hash(WHO)
            # Another one's address isn't believed, and nothing is said without one.
            lie = ("forwarded", 'for="10.9.9.9:1"')
            assert await caller.connect(node.authority, lie).status() == 200
            port = caller.transport.get_extra_info("sockname")[1]
            mark = node.marks.marks[1]
            assert (mark.far, mark.far_port) == (mapped(ip(node.client.v4)), port)


async def test_a_source_whose_identity_is_another_is_no_workload() -> None:
    async with serving() as node:
        await node.listen()
        async with node.call(identity=who("other")) as caller:
            assert await caller.connect(node.authority).status() == 200
            (mark,) = node.marks.marks
            assert mark.source == 0
            assert mark.identity == identity_hash(who("other"))


@pytest.mark.parametrize("authority", ["10.96.0.1:80", "10.99.0.2:8080", "[fd00::7]:80"])
async def test_a_waypoint_gets_a_header_first(authority: str) -> None:
    got: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read())
        writer.close()

    async with serving() as node:
        pod = node.mesh.workload(SERVER)
        assert pod is not None
        node.push(replace(pod, application_tunnel=ApplicationTunnel(15088)), DENY)
        await node.listen(note, 15088)
        async with node.call() as caller:
            forwarded = ("forwarded", f'for="{node.client.v4}:4711"')
            stream = caller.connect(authority, forwarded)
            assert await stream.status() == 200
            await stream.write(b"payload")
            stream.end()
            assert await stream.rest() == b""
            parsed = parse_proxy(got[0])
            assert parsed is not None
            header, size = parsed
            assert got[0][size:] == b"payload"
            host, _, port = authority.rpartition(":")
            asked = ip(host.strip("[]"))
            assert header == ProxyHeader(ip(node.client.v4), 4711, asked, int(port), WHO)
            (mark,) = node.marks.marks
            assert mark.original == mapped(asked)


# What is refused


@pytest.mark.parametrize(
    "authority",
    [
        "10.96.0.1:80", "10.99.0.1:8080", "10.99.0.2:15001", "10.99.0.2:15006",
        "10.99.0.2:15008", "10.99.0.2:15080", "10.99.0.2", "10.99.0.2:0", "10.99.0.2:65536",
        "web.app.svc.cluster.local:80", ":80", "x y:80",
    ],
)  # fmt: skip
async def test_what_can_t_be_asked_for(authority: str) -> None:
    async with serving() as node:
        await node.listen()
        async with node.call() as caller:
            assert await caller.connect(authority).status() == 400
            # The connection is as good as before.
            assert await caller.connect(node.authority).status() == 200


async def test_nothing_but_connect_is_answered() -> None:
    async with serving() as node, node.call() as caller:
        scheme = [(":scheme", "https"), (":path", "/"), (":authority", node.authority)]
        for method in ("GET", "POST"):
            stream = caller.ask([(":method", method), *scheme], end=method == "GET")
            assert await stream.status() == 400


async def test_an_application_that_isn_t_there() -> None:
    async with serving() as node, node.call() as caller:
        stream = caller.connect(node.authority)
        assert await stream.status() == 503
        await until(lambda: not node.server.tunnels)
        (line,) = node.log.lines
        assert "refused" in line


async def test_an_application_that_doesn_t_answer() -> None:
    async with serving() as node:
        object.__setattr__(node.server.inbound, "connect_seconds", 0.2)
        # Its queue is full: the kernel takes no notice of another SYN.
        listener = node.pod.listen(node.pod.v4, PORT, backlog=0)
        filling = []
        for _ in range(4):
            one = node.pod.open_socket()
            one.setblocking(False)
            one.connect_ex((node.pod.v4, PORT))
            filling.append(one)
        async with node.call() as caller:
            assert await caller.connect(node.authority).status() == 503
        for one in (listener, *filling):
            one.close()
        assert "no answer within" in node.log.lines[0]


async def test_what_a_policy_denies() -> None:
    async with serving() as node:
        app = await node.listen()
        node.push(DENY)
        async with node.call() as caller:
            assert await caller.connect(node.authority).status() == 401
        assert not app.taken
        assert node.authorizer.denied == {"app/deny": 1}
        async with node.call(identity=who("other")) as caller:
            assert await caller.connect(node.authority).status() == 200


async def test_a_push_ends_what_it_denies_and_nothing_else() -> None:
    async with serving() as node:
        await node.listen()
        async with node.call() as caller, node.call(identity=who("other")) as other:
            denied, kept = caller.connect(node.authority), other.connect(node.authority)
            for stream in (denied, kept):
                await stream.write(b"a")
                assert await stream.exactly(1) == b"a"
            node.push(DENY)
            with pytest.raises(ResetError):
                await denied.rest()
            await kept.write(b"b")
            assert await kept.exactly(1) == b"b"
            assert node.authorizer.denied == {"app/deny": 1}


async def test_a_push_that_denies_what_is_being_connected() -> None:
    async with serving() as node:
        listener = node.pod.listen(node.pod.v4, PORT, backlog=0)
        filling = []
        for _ in range(2):
            one = node.pod.open_socket()
            one.setblocking(False)
            one.connect_ex((node.pod.v4, PORT))
            filling.append(one)
        async with node.call() as caller:
            stream = caller.connect(node.authority)
            await until(lambda: node.authorizer.admitted)
            node.push(DENY)
            await until(lambda: not node.authorizer.admitted)
            for one in filling:
                one.close()
            taken = []
            listener.setblocking(False)

            def take() -> bool:
                try:
                    taken.append(listener.accept()[0])
                except BlockingIOError:
                    pass
                return stream.answer.done()

            await until(take)
            assert await stream.status() == 401
        for one in (listener, *taken):
            one.close()


async def test_nobody_comes_before_policies_are_known() -> None:
    async with serving() as node:
        await node.listen()
        node.synced.clear()
        async with node.call() as caller:
            stream = caller.connect(node.authority)
            await until(lambda: node.server.tunnels)
            assert not stream.answer.done()
            node.synced.set()
            assert await stream.status() == 200


async def test_a_client_that_leaves_before_it_is_answered() -> None:
    async with serving() as node:
        app = await node.listen()
        node.synced.clear()
        async with node.call() as caller:
            stream = caller.connect(node.authority)
            await until(lambda: node.server.tunnels)
            stream.reset()
            await until(lambda: not node.server.tunnels)
        node.synced.set()
        assert not app.taken


# Who may speak at all


async def refused(node: Node, tls: ssl.SSLContext) -> None:
    """A client that isn't spoken to: its handshake fails, or it ends without a word."""
    try:
        async with node.call(context=tls) as caller:
            async with asyncio.timeout(20):
                await caller.closed.wait()
            assert not caller.settings.is_set()
    except OSError:
        return


@pytest.mark.parametrize(
    ("what", "bound"),
    [
        ("none", Bound.HANDSHAKE),
        ("foreign", Bound.HANDSHAKE),
        ("expired", Bound.HANDSHAKE),
        ("early", Bound.HANDSHAKE),
        ("domain", Bound.IDENTITY),
        ("form", Bound.IDENTITY),
    ],
)
async def test_clients_that_prove_nothing(what: str, bound: Bound) -> None:
    mesh = mesh_authority()
    pem = {
        "none": None,
        "foreign": new_authority("foreign").issue(WHO),
        "expired": mesh.issue(WHO, (-2, -1)),
        "early": mesh.issue(WHO, (1, 2)),
        "domain": mesh.issue(Identity("elsewhere", "app", "client")),
        "form": mesh.issue("https://cluster.local/ns/app/sa/client"),
    }[what]
    async with serving() as node:
        await node.listen()
        await refused(node, context(False, mesh, pem))
        await until(lambda: not node.server.handshakes)
        assert node.server.refused == {bound: 1}


async def test_trust_domains_beside_one_s_own() -> None:
    async with serving() as node:
        await node.listen()
        node.server.trust_domains = frozenset({"elsewhere"})
        async with node.call(identity=Identity("elsewhere", "app", "client")) as caller:
            assert await caller.connect(node.authority).status() == 200


async def test_without_a_certificate_of_its_own_a_pod_speaks_to_nobody() -> None:
    async with serving() as node:
        node.credentials.refuses = "the CA is away"
        with pytest.raises(OSError):
            async with node.call():
                pass
        assert node.server.refused == {Bound.CERTIFICATE: 1}


async def test_who_is_silent_in_the_handshake_isn_t_waited_for_and_counts() -> None:
    async with serving(limits=Limits(handshakes=2)) as node:
        silent = []
        for _ in range(3):
            one = node.client.open_socket()
            one.connect((node.pod.v4, 15008))
            silent.append(one)
        await until(lambda: node.server.refused == {Bound.HANDSHAKES: 1})
        with pytest.raises(ConnectionResetError):
            silent[2].recv(1)
        for one in silent:
            one.close()
        await until(lambda: not node.server.handshakes)


async def test_connections_are_bounded() -> None:
    async with serving(limits=Limits(connections_of_one_pod=1)) as node:
        await node.listen()
        async with node.call() as caller:
            assert await caller.connect(node.authority).status() == 200
            with pytest.raises(OSError):
                async with node.call():
                    pass
        await until(lambda: not node.server.connections)
        assert node.server.refused == {Bound.CONNECTIONS: 1}
        async with node.call() as caller:
            assert await caller.connect(node.authority).status() == 200


async def test_tunnels_are_bounded() -> None:
    async with serving(limits=Limits(tunnels_of_one_pod=1)) as node:
        await node.listen()
        async with node.call() as caller:
            first = caller.connect(node.authority)
            assert await first.status() == 200
            assert await caller.connect(node.authority).status() == 503
            assert node.server.refused == {Bound.TUNNELS: 1}
            first.end()
            assert await first.rest() == b""
            await until(lambda: not node.server.tunnels)
            assert await caller.connect(node.authority).status() == 200


async def test_nothing_of_a_tunnel_waits_for_the_garbage_collector() -> None:
    """A crowd that left would take up its memory until the collector comes by."""
    async with serving() as node:
        await node.listen()
        async with node.call() as caller:
            gc.collect()
            gc.disable()
            try:
                for authority in [node.authority] * 3 + [f"{node.pod.v4}:9"]:
                    stream = caller.connect(authority)
                    if await stream.status() == 200:
                        stream.end()
                        assert await stream.rest() == b""
                broken = caller.connect(node.authority)
                assert await broken.status() == 200
                broken.reset()
                await until(lambda: not node.server.tunnels)
                kinds = (InboundTunnel, Relay, Report)
                assert not [one for one in gc.get_objects() if isinstance(one, kinds)]
            finally:
                gc.enable()


# Whatever is sent


async def test_fuzz() -> None:
    async with serving() as node:
        await fuzz(node, 2000, 1)


@pytest.mark.soak
async def test_fuzz_long() -> None:
    async with serving() as node:
        await fuzz(node, 200_000, 2)


# With the kernel programs


@pytest.fixture(scope="module")
def kernel() -> Iterator[Engine]:
    with engine("inbound") as made:
        yield made


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_the_application_sees_the_client(kernel: Engine, family: int) -> None:
    """accept(), getpeername() and the peer query, where policies deny everybody else."""
    with pair() as (client, pod):
        kernel.enroll(pod, name_hash(SERVER))
        for address in (pod.v4, pod.v6):
            kernel.maps.guards.put(
                LocalAddress(packed(address)), Guard(name_hash(SERVER), 0, 0, GuardFlag.REFUSE)
            )
        node = Node(client, pod, marks=kernel.maps.marks)
        try:
            node.open()
            address = pod.address(family)
            listener = pod.listen(address, PORT)
            async with node.call(address=address) as caller:
                host = f"[{address}]" if family == socket.AF_INET6 else address
                source = Authority.of(ip(client.address(family)), 4711)
                forwarded = ("forwarded", f'for="{source}"')
                stream = caller.connect(f"{host}:{PORT}", forwarded)
                assert await stream.status() == 200
                accepted, seen = listener.accept()
                with accepted:
                    assert seen[:2] == (client.address(family), 4711)
                    assert accepted.getpeername()[:2] == seen[:2]
                    asked = peer(accepted)
                    assert asked.flags & FlowFlag.TUNNELLED
                    assert asked.source == name_hash(CLIENT)
                    assert asked.destination == name_hash(SERVER)
                    assert asked.original == packed(address)
                    accepted.sendall(b"hello")
                    assert await stream.exactly(5) == b"hello"
                # Without the tunnel nobody gets there.
                with client.open_socket(family) as plain, pytest.raises(ConnectionRefusedError):
                    plain.connect((address, PORT))
            listener.close()
        finally:
            await node.close()


# Envoy


ENVOY = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 15000}}}
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: 9000}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: hbone
          tunneling_config: {hostname: "%AUTHORITY%"}
  clusters:
  - name: hbone
    connect_timeout: 5s
    load_assignment:
      cluster_name: hbone
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: "%ADDRESS%", port_value: 15008}}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/%TLS%.v3.UpstreamTlsContext
        common_tls_context:
          alpn_protocols: [h2]
          tls_params:
            tls_minimum_protocol_version: TLSv1_3
            tls_maximum_protocol_version: TLSv1_3
          tls_certificates:
          - certificate_chain: {filename: "%FOLDER%/client.pem"}
            private_key: {filename: "%FOLDER%/client.pem"}
          validation_context:
            trusted_ca: {filename: "%FOLDER%/roots.pem"}
            match_typed_subject_alt_names:
            - san_type: URI
              matcher: {exact: "spiffe://cluster.local/ns/app/sa/server"}
"""


@contextlib.asynccontextmanager
async def envoy(node: Node, folder: Path, authority: str) -> AsyncIterator[None]:
    """Envoy in the client's namespace: port 9000 of its loopback leads to an authority."""
    mesh = mesh_authority()
    (folder / "client.pem").write_bytes(mesh.issue(WHO))
    (folder / "roots.pem").write_text(mesh.pem)
    values = {
        "AUTHORITY": authority,
        "ADDRESS": node.pod.v4,
        "FOLDER": str(folder),
        "TLS": "envoy.extensions.transport_sockets.tls",
    }
    text = ENVOY
    for name, value in values.items():
        text = text.replace(f"%{name}%", value)
    (folder / "envoy.yaml").write_text(text)
    process = await asyncio.create_subprocess_exec(
        "nsenter",
        f"--net={node.client.path}",
        str(Path(sys.executable).with_name("envoy")),
        *("-c", str(folder / "envoy.yaml"), "--concurrency", "1", "--log-level", "warn"),
        *("--use-dynamic-base-id", "--disable-hot-restart"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: process.returncode is not None or listens(node), 60)
        assert process.returncode is None
        yield
    finally:
        process.kill()
        await process.wait()


def listens(node: Node) -> bool:
    with node.client.open_socket() as opened:
        return opened.connect_ex(("127.0.0.1", 9000)) == 0


async def through_envoy(node: Node) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    opened = node.client.open_socket()
    opened.setblocking(False)
    await asyncio.get_running_loop().sock_connect(opened, ("127.0.0.1", 9000))
    return await asyncio.open_connection(sock=opened)


async def test_envoy_is_served(tmp_path: Path) -> None:
    size = 4 << 20
    async with serving() as node:
        await node.listen()
        async with envoy(node, tmp_path, node.authority), asyncio.timeout(60):
            for _ in range(3):
                reader, writer = await through_envoy(node)
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
                writer.close()
            reader, writer = await through_envoy(node)
            writer.write(bytes(size))
            writer.write_eof()
            got = 0
            while data := await reader.read(1 << 16):
                got += len(data)
            assert got == size
            writer.close()
            node.push(DENY)
            reader, writer = await through_envoy(node)
            writer.write(b"x")
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()
        await until(lambda: not node.server.connections)
        assert node.authorizer.denied["app/deny"] >= 1
