"""Each way in without the right, on the real port."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3 import ads_pb2_grpc

from deploy.standalone.control.auth.guard import bearer
from deploy.standalone.control.auth.tokens import LIFE, Tokens
from deploy.standalone.control.ca.certificates import make_issuer, make_key, pem
from deploy.standalone.control.errors import UnauthenticatedError
from proto import ca_pb2, ca_pb2_grpc
from tests.deploy.standalone.control.auth.test_tokens import NONE, content, forged
from tests.deploy.standalone.control.conftest import DAEMON, WAYPOINT, Control, Stream
from tests.deploy.standalone.control.conftest import bearer as headers
from tests.deploy.standalone.control.helpers import AMBIENT, GATEWAY, documents

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture
async def mesh(control: Control) -> Control:
    control.write(documents(AMBIENT, GATEWAY))
    await control.until(lambda view: view.pods)
    await control.report()
    control.gate.open()
    return control


async def why_not(work: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(work, 10)
    return caught.value.code(), str(caught.value.details())


async def ask_both(mesh: Control, metadata: Any) -> set[tuple[grpc.StatusCode, str]]:
    """What ADS and CA say to a token."""
    authority = ca_pb2_grpc.IstioCertificateServiceStub(mesh.channel)
    request = ca_pb2.IstioCertificateRequest(csr="never read")
    certificate = await why_not(authority.CreateCertificate(request, metadata=metadata))
    stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(mesh.channel)
    call = stub.DeltaAggregatedResources(metadata=metadata)
    return {certificate, await why_not(call.read())}


async def test_a_token_is_needed(mesh: Control) -> None:
    for metadata in (None, [("authorization", "Basic YTpi")], [("cookie", "Bearer x")]):
        ((code, why),) = await ask_both(mesh, metadata)
        assert code is UNAUTHENTICATED
        assert why == "no token: send it as 'authorization: Bearer <token>'"


async def test_tokens_that_are_none(mesh: Control) -> None:
    key = mesh.authority.token_key
    node1 = mesh.tokens.verify(mesh.token())
    good = mesh.token()
    expired = Tokens(key, lambda: time.time() - LIFE - 1).mint(node1).token
    foreign = Tokens(make_key()).mint(node1).token
    audience = forged(content(aud=["istio-pilot"]), key)
    for token, reason in (
        (expired, "it has expired: read it again from its file"),
        (audience, "its audience is not 'istio-ca'"),
        (foreign, "its signature is not this mesh's"),
        (NONE, "its algorithm is not ES256"),
        (good[:-10], "its signature is not this mesh's"),
        ("nothing", "not one of this mesh's"),
    ):
        ((code, why),) = await ask_both(mesh, headers(token))
        assert code is UNAUTHENTICATED
        assert f"token: {reason}" in why


async def test_a_token_of_another_place_is_replayed(mesh: Control) -> None:
    """Good tokens, each of somebody who isn't at the address that they come from."""
    token = mesh.desk.for_agent("node2").token
    ((code, why),) = await ask_both(mesh, headers(token))
    assert code is UNAUTHENTICATED
    assert "good at node node2 alone, and 127.0.0.1 is no address of that" in why
    waypoint = mesh.token(WAYPOINT)
    ((name, status),) = mesh.engine.statuses.items()
    moved = {
        "uid": status.uid, "node": "node1", "ips": ["10.244.1.7"],
        "phase": "Running", "ready": True, "restarts": 0, "message": "",
    }  # fmt: skip
    await mesh.ask("PUT", f"/v1/pods/{name[0]}/{name[1]}/status", json=moved)
    ((code, why),) = await ask_both(mesh, headers(waypoint))
    assert code is UNAUTHENTICATED
    assert "127.0.0.1 is no address of that" in why
    mesh.write(documents(AMBIENT))
    await mesh.until(lambda view: not view.pods)
    ((code, why),) = await ask_both(mesh, headers(waypoint))
    assert "there is no pod" in why


@pytest.mark.parametrize("node", [DAEMON, WAYPOINT])
async def test_a_client_says_it_is_another(mesh: Control, node: str) -> None:
    other = WAYPOINT if node == DAEMON else DAEMON
    stream = mesh.stream(other, token=mesh.token(node))
    await stream.send()
    code, why = await why_not(stream.call.read())
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "and the token is of" in why


async def test_metadata_of_another_node(mesh: Control) -> None:
    stream = mesh.stream()
    await stream.send(node_name="node2")
    code, why = await why_not(stream.call.read())
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert why == "metadata NODE_NAME is 'node2', and the token is of 'node1'"


async def test_plaintext_is_refused(mesh: Control) -> None:
    async with grpc.aio.insecure_channel(mesh.target) as channel:
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
        call = stub.DeltaAggregatedResources(metadata=headers(mesh.token()))
        stream = Stream(call, DAEMON)
        code, _ = await why_not(stream.send_and_read())
        assert code is grpc.StatusCode.UNAVAILABLE
    assert not mesh.ads.clients


async def test_a_server_of_another_root_is_not_believed(mesh: Control) -> None:
    root = pem(make_issuer("cluster.local", time.time()).root)
    async with mesh.connect(root) as channel:
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
        stream = Stream(stub.DeltaAggregatedResources(metadata=headers(mesh.token())), DAEMON)
        code, _ = await why_not(stream.send_and_read())
        assert code is grpc.StatusCode.UNAVAILABLE


async def test_a_pods_token_waits_until_it_is_known_what_runs(control: Control) -> None:
    control.write(documents(AMBIENT, GATEWAY))
    await control.until(lambda view: view.pods)
    stream = control.stream(WAYPOINT)
    await stream.send()
    reading = asyncio.ensure_future(stream.receive())
    await control.report()
    assert not reading.done()
    control.gate.open()
    assert (await asyncio.wait_for(reading, 10)).resources


def test_bearer_is_found_among_headers() -> None:
    found = bearer([("x", "y"), ("authorization", b"raw"), ("authorization", "Bearer  t ")])
    assert found == "t"
    with pytest.raises(UnauthenticatedError):
        bearer(())
