from __future__ import annotations

import asyncio
import ssl

import pytest
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, PingAckReceived, StreamEnded

from deploy.standalone.control.ca.service import CertificateService
from deploy.standalone.control.errors import ConfigError
from deploy.standalone.control.server import serve
from tests.deploy.standalone.control.conftest import Control, bearer


async def test_a_port_in_use_is_said(control: Control) -> None:
    ca = CertificateService(control.authority, control.guard)
    with pytest.raises(ConfigError, match="can't be listened on"):
        await serve(control.ads, ca, control.authority, control.target)


async def test_new_connections_see_the_newest_certificate(control: Control) -> None:
    """During a change of the root each step's server is believed with that step's roots."""
    old = control.authority.roots
    stream = control.stream()
    control.gate.open()
    await stream.send()
    await stream.receive()
    status, roots = await control.ask("POST", "/v1/roots/rotate")
    assert status == 200
    assert [root["signing"] for root in roots["roots"]] == [True, False]
    status, refused = await control.ask("POST", "/v1/roots/rotate")
    assert status == 409
    assert "being changed already" in refused["error"]
    async with control.connect(old) as channel:
        await asyncio.wait_for(channel.channel_ready(), 10)
    await control.authority.tend()
    await control.authority.tend()
    _, roots = await control.ask("GET", "/v1/roots")
    assert roots["step"] == "stable"
    new = control.authority.settings.roots.read_bytes()
    assert new != old
    async with control.connect(new) as channel:
        await asyncio.wait_for(channel.channel_ready(), 10)
    async with control.connect(old) as channel:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.channel_ready(), 1)
    control.write("apiVersion: v1\nkind: Namespace\nmetadata: {name: later}\n")
    await stream.send(response_nonce="")
    assert not stream.call.done(), "who was connected stays so"


PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


async def test_clients_may_ping_often(control: Control) -> None:
    """A stock ztunnel pings every ten seconds; gRPC's default ends its stream for it."""
    context = ssl.create_default_context(cadata=control.authority.roots.decode())
    context.set_alpn_protocols(["h2"])
    host, _, port = control.target.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    client = H2Connection()
    client.initiate_connection()
    headers = [
        (":method", "POST"), (":scheme", "https"), (":authority", control.target),
        (":path", PATH), ("content-type", "application/grpc"), ("te", "trailers"),
        *bearer(control.token()),
    ]  # fmt: skip
    client.send_headers(1, headers)
    for number in range(20):
        client.ping(number.to_bytes(8, "big"))
        writer.write(client.data_to_send())
        answered = False
        while not answered:
            data = await asyncio.wait_for(reader.read(65536), 10)
            assert data, "the server ended the connection"
            for event in client.receive_data(data):
                assert not isinstance(event, ConnectionTerminated | StreamEnded), event
                answered |= isinstance(event, PingAckReceived)
    writer.transport.abort()
