"""The client against a real gRPC server in this process."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import grpc
import grpc.aio
import pytest

from proto import workload_pb2
from tests.support.certificates import Authority
from tests.support.port15012 import make_port
from tests.support.waiting import until
from tests.ztunnel_compat.ads_server import login, policy, serving, workload
from tests.ztunnel_compat.helpers import task_of
from ztunnel_compat.decode import decode_address
from ztunnel_compat.drivers import mesh_client
from ztunnel_compat.drivers.login import Login
from ztunnel_compat.drivers.mesh_client import MeshClient, NodeInfo
from ztunnel_compat.runtime.backoff import Backoff
from ztunnel_compat.state import Changes, WorkloadState
from ztunnel_compat.xds import ADDRESS_TYPE, AUTHORIZATION_TYPE, MEMBERS_TYPE

NODE = NodeInfo("ztunnel", "10.244.255.1", "ztunnel-n1", "istio-system", "n1", "Kubernetes")


class Client(MeshClient):
    """A client that collects what it says has changed."""

    def __init__(self, server):
        self.changes = []
        super().__init__(
            server=server,
            node=NODE,
            state=WorkloadState(),
            on_change=self.changes.append,
            backoff=Backoff(0.001, 0.05),
        )

    @property
    def uids(self):
        return {workload.uid for workload in self.state.workloads()}

    def counted(self, type_url=ADDRESS_TYPE):
        return self.status()["types"][type_url]


@pytest.fixture
async def server():
    async with serving() as server:
        yield server


@pytest.fixture
async def client(server):
    client = Client(login(server.port))
    async with task_of(client.run()):
        yield client


@pytest.fixture
async def stream(server, client):
    """An open stream, its first requests taken."""
    stream = await server.stream()
    await stream.begin()
    return stream


async def sync(stream, *resources):
    """Answer both types and take the acks."""
    stream.push("n1", *resources)
    stream.answer(AUTHORIZATION_TYPE, "n2")
    await stream.expect(ADDRESS_TYPE, "n1")
    await stream.expect(AUTHORIZATION_TYPE, "n2")


async def test_the_first_requests_subscribe_to_everything(server, client):
    addresses, policies = await (await server.stream()).begin()
    for request in (addresses, policies):
        assert list(request.resource_names_subscribe) == []
        assert dict(request.initial_resource_versions) == {}
        assert not request.HasField("error_detail")
    assert addresses.node.id == (
        "ztunnel~10.244.255.1~ztunnel-n1.istio-system~istio-system.svc.cluster.local"
    )
    assert dict(addresses.node.metadata) == {
        "NAME": "ztunnel-n1",
        "NAMESPACE": "istio-system",
        "INSTANCE_IPS": "10.244.255.1",
        "NODE_NAME": "n1",
        "CLUSTER_ID": "Kubernetes",
    }
    assert not policies.HasField("node")


async def test_a_push_is_applied_told_and_acknowledged(client, stream):
    stream.push("n1", workload("w1"), workload("w2"))
    ack = await stream.expect(ADDRESS_TYPE, "n1")
    assert not ack.HasField("error_detail")
    assert list(ack.resource_names_subscribe) == []
    assert client.uids == {"w1", "w2"}
    assert [change.workloads for change in client.changes] == [{"w1", "w2"}]
    stream.push("n2", workload("w1", "2", node="n1"), removed=("w2",))
    await stream.expect(ADDRESS_TYPE, "n2")
    assert client.uids == {"w1"}
    assert client.changes[-1].workloads == {"w1", "w2"}


async def test_a_push_of_nothing_new_is_not_told(client, stream):
    stream.push("n1", workload("w1"))
    stream.push("n2", workload("w1"), removed=("unheard-of",))
    await stream.expect(ADDRESS_TYPE, "n1")
    await stream.expect(ADDRESS_TYPE, "n2")
    assert len(client.changes) == 1


async def test_synced_once_both_types_are_answered(client, stream):
    stream.push("n1", workload("w1"))
    await stream.expect(ADDRESS_TYPE, "n1")
    assert not client.synced.is_set()
    stream.answer(AUTHORIZATION_TYPE, "n2")
    await stream.expect(AUTHORIZATION_TYPE, "n2")
    assert client.synced.is_set()


async def test_a_nack_names_what_is_rejected_and_the_rest_is_used(client, stream):
    legacy = workload("w2", tunnel_protocol=workload_pb2.LEGACY_ISTIO_MTLS)
    short = workload("w3", addresses=[b"\1\2\3"])
    stream.answer(AUTHORIZATION_TYPE, "p1")
    await stream.expect(AUTHORIZATION_TYPE, "p1")
    stream.push("n1", workload("w1"), legacy, short)
    nack = await stream.expect(ADDRESS_TYPE, "n1")
    assert nack.error_detail.code == 3
    assert nack.error_detail.message.splitlines() == [
        "w2: tunnel_protocol: 2 is none of NONE (0), HBONE (1)",
        "w3: addresses: 3 bytes, expected 4 or 16",
    ]
    assert client.uids == {"w1"}
    assert not client.synced.is_set()
    assert client.counted()["nacks"] == 1
    assert set(client.counted()["rejected"]) == {"w2", "w3"}
    stream.push("n2", workload("w2", "2"), removed=("w3",))
    await stream.expect(ADDRESS_TYPE, "n2")
    assert client.uids == {"w1", "w2"}
    assert client.synced.is_set()


async def test_a_rejected_update_leaves_what_was_there(client, stream):
    stream.push("n1", workload("w1", node="n1"))
    await stream.expect(ADDRESS_TYPE, "n1")
    stream.push("n2", workload("w1", "2", status=9))
    assert (await stream.expect(ADDRESS_TYPE, "n2")).error_detail.message
    assert client.state.workload("w1").node == "n1"


async def test_a_resource_of_another_type_is_rejected(client, stream):
    stream.push("n1", policy("ns/deny"))
    nack = await stream.expect(ADDRESS_TYPE, "n1")
    assert nack.error_detail.message == f"ns/deny: holds '{AUTHORIZATION_TYPE}'"


async def test_policies_are_counted_and_bad_ones_rejected(client, stream):
    stream.answer(AUTHORIZATION_TYPE, "n1", policy("ns/a"), policy("ns/b", name="other"))
    nack = await stream.expect(AUTHORIZATION_TYPE, "n1")
    assert nack.error_detail.message == (
        "ns/b: policy ns/other under another name; "
        "workloads that it selects refuse all connections"
    )
    assert client.counted(AUTHORIZATION_TYPE)["held"] == 1
    assert list(client.policies.policies) == ["ns/a"]
    assert list(client.policies.unusable) == ["ns/b"]
    assert client.changes == [Changes(policies=frozenset({"ns/a", "ns/b"}))]


async def test_a_policy_of_another_type_is_unusable(client, stream):
    stream.answer(AUTHORIZATION_TYPE, "n1", workload("ns/a"))
    nack = await stream.expect(AUTHORIZATION_TYPE, "n1")
    assert nack.error_detail.message.startswith(f"ns/a: holds '{ADDRESS_TYPE}'; ")
    assert client.policies.unusable["ns/a"].scope is None


async def test_a_bad_policy_does_not_hold_up_the_mesh(client, stream):
    stream.push("n1", workload("w1"))
    stream.answer(AUTHORIZATION_TYPE, "n2", policy("ns/b", name="other"))
    await stream.expect(ADDRESS_TYPE, "n1")
    await stream.expect(AUTHORIZATION_TYPE, "n2")
    assert client.synced.is_set()


async def test_a_bad_update_of_a_policy_leaves_the_good_one(client, stream):
    stream.answer(AUTHORIZATION_TYPE, "n1", policy("ns/a"))
    await stream.expect(AUTHORIZATION_TYPE, "n1")
    stream.answer(AUTHORIZATION_TYPE, "n2", policy("ns/a", action=7))
    nack = await stream.expect(AUTHORIZATION_TYPE, "n2")
    assert nack.error_detail.message == (
        "ns/a: action: 7 is none of ALLOW (0), DENY (1); its last good version stays in force"
    )
    assert list(client.policies.policies) == ["ns/a"]
    stream.answer(AUTHORIZATION_TYPE, "n3", removed=("ns/a",))
    await stream.expect(AUTHORIZATION_TYPE, "n3")
    assert not client.policies.policies
    assert len(client.changes) == 2


async def test_a_reconnect_resumes_with_versions(server, client, stream):
    await sync(stream, workload("w1", "a"), workload("w2", "b"))
    stream.answer(AUTHORIZATION_TYPE, "n3", policy("ns/a"))
    await stream.expect(AUTHORIZATION_TYPE, "n3")
    stream.end()
    again = await server.stream()
    addresses, policies = await again.begin()
    assert dict(addresses.initial_resource_versions) == {"w1": "a", "w2": "b"}
    assert dict(policies.initial_resource_versions) == {"ns/a": ""}
    assert addresses.node.id == NODE.id
    assert client.uids == {"w1", "w2"}
    assert client.synced.is_set()
    again.push("n1", removed=("w1",))
    await again.expect(ADDRESS_TYPE, "n1")
    assert client.uids == {"w2"}
    assert client.status()["terminations"] == {"Complete": 1}
    assert client.status()["last_end"] == "OK: closed by the server"


async def test_members_are_told_at_once_and_on_each_stream(server, client, stream):
    client.tell_members(frozenset("ab"))
    told = await stream.expect(MEMBERS_TYPE, "")
    assert list(told.resource_names_subscribe) == ["a", "b"]
    client.tell_members(frozenset("b"))
    told = await stream.expect(MEMBERS_TYPE, "")
    assert list(told.resource_names_unsubscribe) == ["a"]
    stream.end()
    stream = await server.stream()
    await stream.begin()
    told = await stream.expect(MEMBERS_TYPE, "")
    assert list(told.resource_names_subscribe) == ["b"]


async def test_a_killed_server_is_found_again_on_its_return():
    async with serving() as server:
        port = server.port
        client = Client(login(port))
        async with task_of(client.run()):
            stream = await server.stream()
            await stream.begin()
            await sync(stream, workload("w1", "a"))
            await server.kill()
            await until(lambda: client.terminations["Reconnect"] == 1)
            await until(lambda: client.terminations["ConnectionError"] > 0)
            assert client.status()["last_end"].startswith("UNAVAILABLE: ")
            assert client.uids == {"w1"}
            assert not client.connected
            async with serving(port) as revived:
                stream = await revived.stream()
                addresses, _ = await stream.begin()
                assert dict(addresses.initial_resource_versions) == {"w1": "a"}
                await sync(stream, workload("w2", "a"))
                assert client.connected
                assert client.uids == {"w1", "w2"}


@pytest.mark.parametrize(
    ("type_url", "nonce", "reason"),
    [("unheard/Of", "n1", "'unheard/Of'"), (ADDRESS_TYPE, "", "without a nonce")],
)
async def test_a_broken_protocol_reopens_the_stream(
    server, client, stream, type_url, nonce, reason
):
    stream.answer(type_url, nonce, workload("w1"))
    await (await server.stream()).begin()
    assert client.uids == set()
    assert reason in client.status()["last_end"]
    assert client.status()["terminations"] == {"Error": 1}
    assert "unheard/Of" not in client.messages


async def test_bytes_that_are_no_answer_reopen_the_stream(server, client, stream):
    stream.raw(b"\xff\xff")
    await (await server.stream()).begin()
    assert "no DeltaDiscoveryResponse" in client.status()["last_end"]


async def test_an_error_status_is_the_reason(server, client, stream):
    stream.fail("PERMISSION_DENIED", "who are you?")
    await (await server.stream()).begin()
    assert client.status()["last_end"] == "PERMISSION_DENIED: who are you?"
    assert client.status()["terminations"] == {"ConnectionError": 1}


async def test_delays_grow_until_a_stream_answers_everything(server, client, stream):
    first = client.backoff.ceiling
    for doublings in (1, 2, 3):
        stream.push("n1", workload("w1"))
        stream.end()
        stream = await server.stream()
        assert client.backoff.ceiling == first * 2**doublings
    await stream.begin()
    await sync(stream)
    assert client.backoff.ceiling == first


async def test_only_time_in_which_the_server_is_heard_counts(server, client, stream):
    now = 100.0
    client.clock = lambda: now
    assert client.heard == 0
    await sync(stream, workload("w1"))
    now += 3
    assert client.heard == 3
    stream.end()
    again = await server.stream()
    await again.begin()
    now += 50
    assert client.heard == 3, "connected, but not a word yet"
    await sync(again)
    now += 1
    assert client.heard == 4


async def test_counters(client, stream):
    await sync(stream, workload("w1"))
    addresses, policies = client.counted(), client.counted(AUTHORIZATION_TYPE)
    assert (addresses["messages"], policies["messages"]) == (1, 1)
    assert addresses["bytes"] > policies["bytes"] > 0
    assert (addresses["held"], policies["held"]) == (1, 0)
    assert client.status()["connected"]


async def test_a_huge_push_leaves_the_loop_to_others_and_is_applied_at_once(
    client, stream, monkeypatch
):
    seen = []
    turns = []

    async def watch():
        while True:
            seen.append(len(client.uids))
            await asyncio.sleep(0)

    def decode(name, value):
        turns.append(len(seen))
        return decode_address(name, value)

    monkeypatch.setattr(mesh_client, "decode_address", decode)
    resources = [workload(f"w{n}", addresses=[n.to_bytes(4, "big")]) for n in range(5_000)]
    async with task_of(watch()):
        stream.push("n1", *resources)
        await stream.expect(ADDRESS_TYPE, "n1")
    assert set(seen) <= {0, 5_000}
    assert len(set(turns)) == 5_000 / mesh_client.SLICE
    assert len(client.changes) == 1


async def test_a_server_that_says_nothing_can_be_left():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        client = Client(login(silent.getsockname()[1]))
        async with asyncio.timeout(5), task_of(client.run()):
            loop = asyncio.get_running_loop()
            connection, _ = await loop.sock_accept(silent)
            # A TLS handshake: nothing of ours goes out in the clear.
            assert (await loop.sock_recv(connection, 1)) == b"\x16"
        assert not client.connected
        connection.close()


@pytest.fixture
def files(server, tmp_path):
    """A client's own files, which a test may spoil."""
    known = login(server.port)
    for name in ("roots", "token"):
        (tmp_path / name).write_bytes(getattr(known, name).read_bytes())
    return replace(known, roots=tmp_path / "roots", token=tmp_path / "token")


@pytest.mark.parametrize("name", ["roots", "token"])
async def test_a_file_that_is_missing_or_empty_is_looked_for_again(server, files, name):
    path = getattr(files, name)
    good = path.read_bytes()
    path.unlink()
    client = Client(files)
    async with task_of(client.run()):
        await until(lambda: client.terminations["ConnectionError"] > 1)
        status = client.status()
        assert status["last_end"].startswith(f"{name}: {path} can't be read: No such file")
        assert not status["connected"]
        path.write_bytes(b"")
        await until(lambda: "holds no" in client.last_end)
        assert client.last_end.startswith(f"{name}: {path} holds no ")
        assert server.streams.empty()
        path.write_bytes(good)
        await (await server.stream()).begin()


async def test_a_token_that_is_refused_is_read_again(server, files):
    good = files.token.read_text()
    files.token.write_text("yesterdays")
    client = Client(files)
    async with task_of(client.run()):
        await until(lambda: client.terminations["ConnectionError"] > 1)
        assert client.last_end == "UNAUTHENTICATED: no token of ours"
        assert server.streams.empty()
        files.token.write_text(good)
        await (await server.stream()).begin()


async def test_roots_are_read_again(server, files):
    good = files.roots.read_bytes()
    files.roots.write_bytes(Authority().roots)
    client = Client(files)
    async with task_of(client.run()):
        await until(lambda: client.terminations["ConnectionError"] > 1)
        assert client.last_end.startswith("UNAVAILABLE: ")
        assert "CERTIFICATE_VERIFY_FAILED" in client.last_end
        files.roots.write_bytes(Authority().roots + good)
        await (await server.stream()).begin()


async def test_a_server_of_another_name_is_not_told_the_token(tmp_path):
    port = make_port(tmp_path, "istiod.elsewhere")
    other = grpc.aio.server()
    number = other.add_secure_port("127.0.0.1:0", port.credentials)
    await other.start()
    try:
        client = Client(Login(f"127.0.0.1:{number}", port.roots, port.token))
        assert await client.attempt() == "ConnectionError"
    finally:
        await other.stop(None)
    # Were it spoken to, it would say that it has no such method.
    assert "Hostname Verification Check failed" in client.last_end


async def test_a_server_without_tls_is_not_told_the_token(files):
    heard = bytearray()

    async def answer(reader, writer):
        heard.extend(await reader.read(65536))
        writer.write(b"\0\0\0\x04\0\0\0\0\0")  # SETTINGS, as a gRPC server begins
        heard.extend(await reader.read(65536))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as plain:
        port = plain.sockets[0].getsockname()[1]
        client = Client(replace(files, target=f"127.0.0.1:{port}"))
        assert await client.attempt() == "ConnectionError"
    assert client.last_end.startswith("UNAVAILABLE: ")
    assert heard[:1] == b"\x16"
    assert files.token.read_bytes() not in heard
