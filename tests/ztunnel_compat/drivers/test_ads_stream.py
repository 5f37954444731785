from __future__ import annotations

import asyncio

import pytest

from tests.ztunnel_compat.ads_server import login, serving
from ztunnel_compat.drivers.ads_stream import NodeInfo, StreamEndedError, open_stream
from ztunnel_compat.xds import ADDRESS_TYPE, MEMBERS_TYPE, Request

NODE = NodeInfo("waypoint", "10.244.1.7", "waypoint-0", "bookinfo", "n1", "c2")


def test_a_waypoints_node_id():
    assert NODE.id == "waypoint~10.244.1.7~waypoint-0.bookinfo~bookinfo.svc.cluster.local"
    assert NODE.metadata["CLUSTER_ID"] == "c2"


async def test_requests_on_the_wire():
    async with serving() as server, open_stream(login(server.port), NODE) as ours:
        await ours.send(Request(ADDRESS_TYPE, initial_versions={"w1": "a"}))
        await ours.send(Request(ADDRESS_TYPE, nonce="n1"))
        await ours.send(Request(ADDRESS_TYPE, nonce="n2", error="w1: bad"))
        stream = await server.stream()
        assert stream.headers["clusterid"] == "Kubernetes"
        first, ack, nack = [await stream.request() for _ in range(3)]
    assert first.node.id == NODE.id
    assert dict(first.initial_resource_versions) == {"w1": "a"}
    assert (ack.response_nonce, ack.HasField("node")) == ("n1", False)
    assert not ack.initial_resource_versions
    assert (nack.response_nonce, nack.error_detail.message) == ("n2", "w1: bad")


async def test_names_on_the_wire():
    async with serving() as server, open_stream(login(server.port), NODE) as ours:
        await ours.send(Request(MEMBERS_TYPE, subscribe=("a", "b"), unsubscribe=("c",)))
        request = await (await server.stream()).request()
    assert request.type_url == MEMBERS_TYPE
    assert list(request.resource_names_subscribe) == ["a", "b"]
    assert list(request.resource_names_unsubscribe) == ["c"]


async def test_who_sends_at_the_same_time_waits():
    async with serving() as server, open_stream(login(server.port), NODE) as ours:
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(ours.send(Request(ADDRESS_TYPE, nonce=str(number))))
        stream = await server.stream()
        nonces = [(await stream.request()).response_nonce for _ in range(50)]
    assert nonces == [str(number) for number in range(50)]


async def test_an_answer_and_its_size():
    async with serving() as server, open_stream(login(server.port), NODE) as ours:
        (await server.stream()).push("n1")
        message, size = await ours.receive()
    assert (message.type_url, message.nonce) == (ADDRESS_TYPE, "n1")
    assert size == message.ByteSize()


async def test_the_end_has_a_reason_for_senders_too():
    async with serving() as server, open_stream(login(server.port), NODE) as ours:
        (await server.stream()).fail("RESOURCE_EXHAUSTED", "too many of you")
        for _ in range(2):
            with pytest.raises(StreamEndedError, match="RESOURCE_EXHAUSTED: too many") as end:
                await ours.receive()
            assert end.value.failed
        with pytest.raises(StreamEndedError, match="RESOURCE_EXHAUSTED: too many"):
            await ours.send(Request(ADDRESS_TYPE))


async def test_nobody_there():
    async with serving() as server:
        port = server.port
    async with open_stream(login(port), NODE) as ours:
        with pytest.raises(StreamEndedError, match=r"UNAVAILABLE: .*refused"):
            await ours.receive()
