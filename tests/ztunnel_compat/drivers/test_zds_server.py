"""The server against the real client, over real sockets with real descriptors."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager

import pytest

from tests.support.waiting import until
from tests.ztunnel_compat.helpers import open_descriptors, task_of
from ztunnel_compat.drivers import zds_server
from ztunnel_compat.drivers.seqpacket import SeqPacket
from ztunnel_compat.drivers.zds_client import ZdsClient
from ztunnel_compat.drivers.zds_server import ZdsServer
from ztunnel_compat.errors import ZdsError
from ztunnel_compat.runtime.backoff import Backoff
from ztunnel_compat.zds import MAX_MESSAGE, AddWorkload, encode_ack, encode_hello


class Agent:
    """A node agent's handler: enrolled is uid → inode of the namespace."""

    def __init__(self):
        self.enrolled = {}
        self.snapshots = 0
        self.refuse = set()

    async def add(self, workload, netns_fd):
        if workload.uid in self.refuse:
            return "no room"
        self.enrolled[workload.uid] = os.fstat(netns_fd).st_ino
        return ""

    async def remove(self, uid):
        self.enrolled.pop(uid, None)

    async def snapshot_sent(self, kept):
        self.snapshots += 1
        self.enrolled = {u: inode for u, inode in self.enrolled.items() if u in kept}


@asynccontextmanager
async def connected(path, agent):
    client = ZdsClient(path, agent, Backoff(0.001, 0.01))
    async with task_of(client.run()):
        yield client


@pytest.fixture
async def path(tmp_path):
    return tmp_path / "nodes" / "n1" / "ztunnel.sock"


@pytest.fixture
async def server(path):
    server = ZdsServer(path)
    async with task_of(server.run()):
        await until(path.exists)
        yield server


@pytest.fixture
async def agent():
    return Agent()


@pytest.fixture
def files(tmp_path):
    """Two descriptors and their inodes: as good as namespaces."""
    opened = [(tmp_path / name).open("w") for name in ("one", "two")]
    yield [(file.fileno(), os.fstat(file.fileno()).st_ino) for file in opened]
    for file in opened:
        file.close()


def pod(uid):
    return AddWorkload(uid, "name", "ns", "sa")


async def test_add_returns_once_the_pod_is_enrolled(server, path, agent, files):
    (fd, inode), _ = files
    async with connected(path, agent), asyncio.timeout(5):
        await server.add(pod("a"), fd)
        assert agent.enrolled == {"a": inode}
        await server.remove("a")
        assert agent.enrolled == {}
        await server.remove("unknown")


async def test_add_waits_for_a_node_agent(server, path, agent, files):
    (fd, inode), _ = files
    async with task_of(server.add(pod("a"), fd)) as adding:
        await asyncio.sleep(0)
        assert not adding.done()
        async with connected(path, agent):
            await asyncio.wait_for(adding, 5)
            assert agent.enrolled == {"a": inode}


async def test_remove_does_not_wait_for_a_node_agent(server, files):
    async with task_of(server.add(pod("a"), files[0][0])) as adding:
        await asyncio.sleep(0)
        await asyncio.wait_for(server.remove("a"), 5)
        with pytest.raises(ZdsError, match="removed before it was enrolled"):
            await adding


async def test_a_node_agent_that_comes_back_gets_everything(server, path, agent, files):
    (fd, one), (other, two) = files
    async with connected(path, agent), asyncio.timeout(5):
        await server.add(pod("a"), fd)
        await server.add(pod("b"), other)
        await server.add(pod("gone"), fd)
        before = agent.snapshots
    await until(lambda: not server.connected)
    await asyncio.wait_for(server.remove("gone"), 5)
    async with connected(path, agent):
        await until(lambda: agent.snapshots > before)
        assert agent.enrolled == {"a": one, "b": two}
    fresh = Agent()
    async with connected(path, fresh):
        await until(lambda: fresh.snapshots == 1)
        assert fresh.enrolled == {"a": one, "b": two}


async def test_a_known_uid_with_another_namespace(server, path, agent, files):
    (fd, one), (other, two) = files
    async with connected(path, agent), asyncio.timeout(5):
        await server.add(pod("a"), fd)
        assert agent.enrolled == {"a": one}
        await server.add(pod("a"), other)
        assert agent.enrolled == {"a": two}


async def test_a_refused_pod_is_an_error_and_not_in_the_set(server, path, agent, files):
    agent.refuse = {"a"}
    async with connected(path, agent), asyncio.timeout(5):
        with pytest.raises(ZdsError, match="a: no room"):
            await server.add(pod("a"), files[0][0])
        assert server.entries == {}
        agent.refuse = set()
        await server.add(pod("a"), files[0][0])
        assert "a" in agent.enrolled


async def test_a_pod_refused_on_a_replay_stays_in_the_set(server, path, agent, files, caplog):
    async with connected(path, agent), asyncio.timeout(5):
        await server.add(pod("a"), files[0][0])
    picky = Agent()
    picky.refuse = {"a"}
    async with connected(path, picky):
        await until(lambda: picky.snapshots == 1)
    assert "was refused: no room" in caplog.text
    assert list(server.entries) == ["a"]


async def test_a_pod_refused_on_a_replay_is_told_of_until_it_is_taken(
    server, path, agent, files, monkeypatch
):
    monkeypatch.setattr(zds_server, "RETRY", 0.01)
    async with connected(path, agent), asyncio.timeout(5):
        await server.add(pod("a"), files[0][0])
        await server.add(pod("b"), files[0][0])
    picky = Agent()
    picky.refuse = {"a", "b"}
    async with connected(path, picky) as client:
        await until(lambda: client.failed_adds >= 4)
        await server.remove("b")
        picky.refuse = set()
        await until(lambda: set(picky.enrolled) == {"a"})
        before = client.failed_adds
        await server.add(pod("c"), files[0][0])
        assert (client.failed_adds, set(picky.enrolled)) == (before, {"a", "c"})
    assert picky.snapshots == 1
    assert server.refused == set()


async def test_giving_up_on_add_takes_the_pod_out(server, files):
    async with task_of(server.add(pod("a"), files[0][0])):
        await asyncio.sleep(0)
        assert list(server.entries) == ["a"]
    assert server.entries == {}
    assert open_descriptors(files[0][1]) == 1


async def test_the_callers_descriptor_stays_the_callers(server, path, agent, tmp_path):
    file = (tmp_path / "netns").open("w")
    inode = os.fstat(file.fileno()).st_ino
    async with connected(path, agent), asyncio.timeout(5):
        await server.add(pod("a"), file.fileno())
    file.close()
    fresh = Agent()
    async with connected(path, fresh):
        await until(lambda: fresh.snapshots == 1)
        assert fresh.enrolled == {"a": inode}


async def test_many_pods_at_once(server, path, agent, files):
    (fd, inode), _ = files
    uids = [f"p{number}" for number in range(200)]
    async with connected(path, agent), asyncio.timeout(20):
        await asyncio.gather(*(server.add(pod(uid), fd) for uid in uids))
        assert agent.enrolled == dict.fromkeys(uids, inode)
        await asyncio.gather(*(server.remove(uid) for uid in uids))
        assert agent.enrolled == {}
    assert open_descriptors(inode) == 1


async def test_a_new_node_agent_takes_over(server, path, agent, files):
    (fd, inode), _ = files
    old = SeqPacket.connect(path, MAX_MESSAGE)
    await old.send(encode_hello())
    async with task_of(server.add(pod("a"), fd)) as adding:
        for _ in range(2):
            (await asyncio.wait_for(old.receive(), 5)).close()
            await old.send(encode_ack())
        await asyncio.wait_for(adding, 5)
    async with connected(path, agent):
        await until(lambda: agent.snapshots == 1)
        assert agent.enrolled == {"a": inode}
        assert await asyncio.wait_for(old.receive(), 5) is None
    old.close()


@pytest.mark.parametrize(
    "answer", [b"\xff\xff", b"", encode_hello()], ids=["garbage", "empty", "no ack"]
)
async def test_a_broken_answer_is_hung_up_on(server, path, agent, files, answer):
    broken = SeqPacket.connect(path, MAX_MESSAGE)
    await broken.send(encode_hello())
    async with task_of(server.add(pod("a"), files[0][0])) as adding:
        while (await asyncio.wait_for(broken.receive(), 5)) is not None:
            if answer:
                await broken.send(answer)
            else:
                broken.connection.shutdown(socket.SHUT_WR)
        broken.close()
        assert not adding.done()
        async with connected(path, agent):
            await asyncio.wait_for(adding, 5)


async def test_an_ack_that_nobody_asked_for(server, path, agent, caplog):
    broken = SeqPacket.connect(path, MAX_MESSAGE)
    await broken.send(encode_hello())
    await asyncio.wait_for(broken.receive(), 5)  # SnapshotSent
    await broken.send(encode_ack())
    await broken.send(encode_ack())
    assert await asyncio.wait_for(broken.receive(), 5) is None
    assert "an ack that nobody asked for" in caplog.text
    broken.close()


async def test_no_hello_and_a_wrong_one(server, path, agent, caplog):
    SeqPacket.connect(path, MAX_MESSAGE).close()
    wrong = SeqPacket.connect(path, MAX_MESSAGE)
    await wrong.send(b"\x08\x02")
    assert await asyncio.wait_for(wrong.receive(), 5) is None
    wrong.close()
    async with connected(path, agent):
        await until(lambda: agent.snapshots == 1)
    assert "left without a hello" in caplog.text
    assert "ZdsHello of version 2" in caplog.text


async def test_a_node_agent_that_hangs_is_hung_up_on(
    server, path, agent, files, monkeypatch, caplog
):
    monkeypatch.setattr(zds_server, "ANSWER_TIMEOUT", 0.05)
    hanging = SeqPacket.connect(path, MAX_MESSAGE)
    await hanging.send(encode_hello())
    async with task_of(server.add(pod("a"), files[0][0])) as adding, connected(path, agent):
        await asyncio.wait_for(adding, 5)
    assert "no answer within 0.05 s" in caplog.text
    hanging.close()


async def test_names_that_do_not_fit_are_refused_at_once(server, files):
    with pytest.raises(ZdsError, match="at most 1024"):
        await server.add(AddWorkload("a", "n" * 2_000, "ns", "sa"), files[0][0])
    assert server.entries == {}


async def test_the_socket_is_roots_alone_and_goes_with_the_server(path):
    server = ZdsServer(path)
    async with task_of(server.run()):
        await until(path.exists)
        await until(lambda: path.stat().st_mode & 0o777 == 0o600)
    assert not path.exists()


async def test_a_dead_servers_socket_is_replaced(path, agent, files):
    path.parent.mkdir(parents=True)
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    dead.bind(str(path))
    dead.close()
    server = ZdsServer(path)
    async with task_of(server.run()), connected(path, agent):
        await asyncio.wait_for(server.add(pod("a"), files[0][0]), 5)


async def test_a_living_servers_socket_is_left_alone(server, path, agent, files):
    with pytest.raises(OSError, match="Address already in use"):
        await ZdsServer(path).run()
    async with connected(path, agent):
        await asyncio.wait_for(server.add(pod("a"), files[0][0]), 5)
