from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from proto import ca_pb2, ca_pb2_grpc
from tests.deploy.standalone.control.conftest import DAEMON, WAYPOINT, Control, bearer
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    deployment,
    documents,
    service,
)

WEB = "spiffe://cluster.local/ns/shop/sa/default"
MESH = documents(AMBIENT, GATEWAY, service("web"), deployment("web"))


def make_csr(key: Any = None, *names: str) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        found = [x509.UniformResourceIdentifier(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=True)
    request = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


async def create(
    control: Control, token: str, *, csr: str = "", identity: Any = "", seconds: int = 0
) -> tuple[str, ...]:
    """Ask for a certificate: its chain."""
    request = ca_pb2.IstioCertificateRequest(csr=csr or make_csr(), validity_duration=seconds)
    if identity:
        request.metadata.update({"ImpersonatedIdentity": identity})
    stub = ca_pb2_grpc.IstioCertificateServiceStub(control.channel)
    answer = await stub.CreateCertificate(request, timeout=10, metadata=bearer(token))
    return tuple(answer.cert_chain)


async def refused(work: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await work
    return caught.value.code(), str(caught.value.details())


@pytest.fixture
async def mesh(control: Control) -> Control:
    control.write(MESH)
    await control.until(lambda view: len(view.pods) == 2)
    await control.report()
    control.gate.open()
    return control


def sans(certificate: x509.Certificate) -> tuple[list[str], bool]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value.get_values_for_type(x509.UniformResourceIdentifier), found.critical


async def test_an_agent_gets_a_pods_certificate(mesh: Control) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    other = "spiffe://cluster.local/ns/kube-system/sa/admin"
    chain = await create(mesh, mesh.token(), csr=make_csr(key, other), identity=WEB)
    leaf, intermediate, root = map(x509.load_pem_x509_certificate, map(str.encode, chain))
    assert sans(leaf) == ([WEB], True), "not what the request says"
    assert leaf.public_key() == key.public_key()
    assert not list(leaf.subject)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert life.total_seconds() == 24 * 3600
    assert chain[-1] == mesh.authority.settings.roots.read_text()


async def test_a_waypoint_gets_its_own(mesh: Control) -> None:
    chain = await create(mesh, mesh.token(WAYPOINT), seconds=600)
    leaf = x509.load_pem_x509_certificate(chain[0].encode())
    assert sans(leaf)[0] == ["spiffe://cluster.local/ns/shop/sa/waypoint"]
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() == 600
    code, why = await refused(create(mesh, mesh.token(WAYPOINT), identity=WEB))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "only a node's agent" in why


@pytest.mark.parametrize(
    ("identity", "code", "reason"),
    [
        ("spiffe://cluster.local/ns/shop/sa/other", "PERMISSION_DENIED", "no pod of that"),
        ("spiffe://other.org/ns/shop/sa/default", "PERMISSION_DENIED", "trust domain is"),
        ("shop/default", "INVALID_ARGUMENT", "no workload identity"),
        (7, "INVALID_ARGUMENT", "is no text"),
    ],
)
async def test_not_everybody_is_impersonated(
    mesh: Control, identity: object, code: str, reason: str
) -> None:
    found, why = await refused(create(mesh, mesh.token(), identity=identity))
    assert found.name == code
    assert reason in why


async def test_another_nodes_service_account_is_refused(mesh: Control) -> None:
    mesh.nodes["node2"] = mesh.nodes["node1"]
    token = mesh.desk.for_agent("node2").token
    code, why = await refused(create(mesh, token, identity=WEB))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "no pod of that service account is on node node2" in why


@pytest.mark.parametrize("seconds", [-1, 24 * 3600 + 1])
async def test_validity_is_bounded(mesh: Control, seconds: int) -> None:
    code, why = await refused(create(mesh, mesh.token(), identity=WEB, seconds=seconds))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert f"validity_duration: {seconds} s: from 1 s to 86400 s" in why


async def test_a_request_that_nobody_signed_is_refused(mesh: Control) -> None:
    code, why = await refused(create(mesh, mesh.token(), csr="nothing", identity=WEB))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "csr: no PEM" in why


async def test_it_is_refused_where_a_restart_would_not_know_of_it(mesh: Control) -> None:
    mesh.ca_settings.folder.joinpath("state.new").mkdir()
    code, why = await refused(create(mesh, mesh.token(), identity=WEB))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "state.json can't be written" in why


async def test_refusals_are_counted(mesh: Control) -> None:
    await refused(create(mesh, "nothing"))
    await refused(create(mesh, mesh.token(), identity="spiffe://cluster.local/ns/a/sa/b"))
    _, dump = await mesh.ask("GET", "/v1/dump")
    assert dump["refused"] == {"Unauthenticated": 1, "Forbidden": 1}


async def test_one_channel_serves_both(mesh: Control) -> None:
    stream = mesh.stream(DAEMON)
    await stream.send()
    assert (await stream.receive()).resources
    chains = await asyncio.gather(
        *(create(mesh, mesh.token(), identity=WEB) for _ in range(20))
    )
    assert len({chain[0] for chain in chains}) == 20
