from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.waiting import until
from tests.ztunnel_compat.helpers import open_descriptors, task_of
from ztunnel_compat.drivers.seqpacket import SeqPacket, ready
from ztunnel_compat.drivers.zds_client import ZdsClient
from ztunnel_compat.runtime.backoff import Backoff
from ztunnel_compat.zds import (
    MAX_MESSAGE,
    AddWorkload,
    DelWorkload,
    KeepWorkload,
    SnapshotSent,
    decode_ack,
    decode_hello,
    encode_request,
)


class Handler:
    """Writes down what it is told."""

    def __init__(self):
        self.calls = []
        self.error = ""

    async def add(self, workload, netns_fd):
        self.calls.append(("add", workload.uid, os.fstat(netns_fd).st_ino))
        return self.error

    async def remove(self, uid):
        self.calls.append(("remove", uid))

    async def snapshot_sent(self, kept):
        self.calls.append(("snapshot", kept))


class Server:
    """istio-cni's side, by hand."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.setblocking(False)
        self.listener.bind(str(path))
        self.listener.listen()

    async def accept(self):
        async with asyncio.timeout(5):
            await ready(self.listener, writing=False)
        peer = SeqPacket(self.listener.accept()[0], MAX_MESSAGE)
        decode_hello((await peer.receive()).data)
        return peer


async def ask(peer, request, *descriptors):
    """Send a request; the ack's error."""
    await peer.send(encode_request(request), descriptors)
    return decode_ack((await asyncio.wait_for(peer.receive(), 5)).data)


@asynccontextmanager
async def running(path, handler):
    client = ZdsClient(path, handler, Backoff(0.001, 0.01))
    async with task_of(client.run()):
        yield client


@pytest.fixture
async def handler():
    return Handler()


@pytest.fixture
async def path(tmp_path):
    return tmp_path / "zds.sock"


@pytest.fixture
async def server(path):
    server = Server(path)
    yield server
    server.listener.close()


@pytest.fixture
async def client(path, handler, server):
    async with running(path, handler) as client:
        yield client


@pytest.fixture
def netns():
    with Path("/proc/self/ns/net").open() as file:
        yield file


def pod(uid):
    return AddWorkload(uid, "name", "ns", "sa")


async def test_requests_reach_the_handler_in_order(server, client, handler, netns):
    peer = await server.accept()
    inode = os.fstat(netns.fileno()).st_ino
    assert await ask(peer, pod("a"), netns.fileno()) == ""
    assert await ask(peer, KeepWorkload("k")) == ""
    assert await ask(peer, pod("b"), netns.fileno()) == ""
    assert await ask(peer, DelWorkload("b")) == ""
    assert await ask(peer, SnapshotSent()) == ""
    assert await ask(peer, DelWorkload("a")) == ""
    assert handler.calls == [
        ("add", "a", inode),
        ("add", "b", inode),
        ("remove", "b"),
        ("snapshot", {"a", "k"}),
        ("remove", "a"),
    ]
    assert client.status()["connected"]
    peer.close()


async def test_an_error_is_in_the_ack_and_counted(server, client, handler, netns):
    peer = await server.accept()
    handler.error = "no room"
    assert await ask(peer, pod("a"), netns.fileno()) == "no room"
    handler.error = ""
    assert await ask(peer, pod("a"), netns.fileno()) == ""
    assert client.status()["failed_adds"] == 1
    peer.close()


async def test_descriptors_are_closed(server, client, netns):
    peer = await server.accept()
    for number in range(20):
        await ask(peer, pod(f"p{number}"), netns.fileno())
    assert open_descriptors(os.fstat(netns.fileno()).st_ino) == 1
    peer.close()


@pytest.mark.parametrize(
    ("data", "descriptors"),
    [
        (encode_request(pod("a")), 0),
        (encode_request(pod("a")), 2),
        (encode_request(pod("a")), 5),
        (encode_request(DelWorkload("a")), 1),
        (encode_request(SnapshotSent()), 1),
        (b"\xff\xff", 0),
        (b"x" * (MAX_MESSAGE + 1), 0),
    ],
)
async def test_a_broken_protocol_is_hung_up_on(
    server, client, handler, netns, data, descriptors
):
    peer = await server.accept()
    await peer.send(data, (netns.fileno(),) * descriptors)
    assert await asyncio.wait_for(peer.receive(), 5) is None
    peer.close()
    again = await server.accept()
    assert handler.calls == []
    assert open_descriptors(os.fstat(netns.fileno()).st_ino) == 1
    again.close()


async def test_a_second_snapshot_on_a_connection_breaks_the_protocol(server, client):
    peer = await server.accept()
    await ask(peer, SnapshotSent())
    await peer.send(encode_request(SnapshotSent()))
    assert await asyncio.wait_for(peer.receive(), 5) is None
    peer.close()


async def test_each_connection_has_its_own_snapshot(server, client, handler, netns):
    first = await server.accept()
    await ask(first, pod("a"), netns.fileno())
    await ask(first, SnapshotSent())
    first.close()
    broken_off = await server.accept()
    await ask(broken_off, pod("x"), netns.fileno())
    broken_off.close()
    second = await server.accept()
    await ask(second, pod("b"), netns.fileno())
    await ask(second, SnapshotSent())
    snapshots = [call[1] for call in handler.calls if call[0] == "snapshot"]
    assert snapshots == [{"a"}, {"b"}]
    assert client.status()["connections"] == 3
    second.close()


async def test_a_socket_that_comes_later_is_found(path, handler):
    async with running(path, handler) as client:
        await until(lambda: "No such file" in client.last_end)
        assert not client.status()["connected"]
        server = Server(path)
        peer = await server.accept()
        await ask(peer, SnapshotSent())
        assert handler.calls == [("snapshot", frozenset())]
        peer.close()
        server.listener.close()


async def test_the_same_failure_is_warned_of_once(path, handler, caplog):
    async with running(path, handler):
        with caplog.at_level("DEBUG"):
            await until(lambda: len(caplog.records) >= 5)
        warnings = [r for r in caplog.records if r.levelname == "WARNING"]
        assert len(warnings) == 1
        assert "No such file or directory" in warnings[0].getMessage()
