from __future__ import annotations

import asyncio
import os
import socket

import pytest

from tests.ztunnel_compat.helpers import open_descriptors
from ztunnel_compat.drivers.seqpacket import SeqPacket, watched
from ztunnel_compat.errors import ZdsError

SIZE = 64


@pytest.fixture
def file(tmp_path):
    with (tmp_path / "file").open("w") as file:
        yield file


@pytest.fixture
async def pair():
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ends = SeqPacket(left, SIZE), SeqPacket(right, SIZE)
    yield ends
    for end in ends:
        end.close()


async def test_messages_stay_apart(pair):
    left, right = pair
    for data in (b"one", b"two"):
        await left.send(data)
    assert [(await right.receive()).data, (await right.receive()).data] == [b"one", b"two"]


async def test_receiving_waits_until_there_is_something(pair):
    left, right = pair
    waiting = asyncio.ensure_future(right.receive())
    await asyncio.sleep(0)
    assert not waiting.done()
    await left.send(b"now")
    assert (await asyncio.wait_for(waiting, 5)).data == b"now"


async def test_the_end_is_none(pair):
    left, right = pair
    left.close()
    assert await right.receive() is None


async def test_a_descriptor_arrives_as_a_new_one_that_children_do_not_inherit(pair, file):
    left, right = pair
    await left.send(b"take", (file.fileno(),))
    packet = await right.receive()
    (descriptor,) = packet.descriptors
    assert os.path.sameopenfile(descriptor, file.fileno())
    assert not os.get_inheritable(descriptor)
    packet.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize(
    ("length", "descriptors", "reason"),
    [(SIZE + 1, 1, "over 64 bytes"), (1, 9, "too many descriptors")],
)
async def test_too_much_is_an_error_and_leaks_no_descriptor(
    pair, file, length, descriptors, reason
):
    left, right = pair
    await left.send(b"x" * length, (file.fileno(),) * descriptors)
    with pytest.raises(ZdsError, match=reason):
        await right.receive()
    assert open_descriptors(os.fstat(file.fileno()).st_ino) == 1


async def test_sending_waits_for_room(pair):
    left, right = pair
    count = 0

    async def flood():
        nonlocal count
        for _ in range(2_000):
            await left.send(b"x" * SIZE)
            count += 1

    flooding = asyncio.ensure_future(flood())
    previous = -1
    while count != previous:
        previous = count
        await asyncio.sleep(0)
    assert 0 < count < 2_000
    for _ in range(2_000):
        assert len((await right.receive()).data) == SIZE
    await asyncio.wait_for(flooding, 5)


async def test_connecting_where_nobody_listens(tmp_path):
    with pytest.raises(FileNotFoundError):
        SeqPacket.connect(tmp_path / "none", SIZE)


async def test_watched_sockets_call(pair):
    left, right = pair
    called = asyncio.Event()
    with watched((right.connection,), called.set):
        await left.send(b"x")
        await asyncio.wait_for(called.wait(), 5)
    called.clear()
    await asyncio.sleep(0)
    assert not called.is_set()
