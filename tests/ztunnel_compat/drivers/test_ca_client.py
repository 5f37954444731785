"""The CA client against a real server over TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from deploy.standalone.control.ca.certificates import make_issuer
from tests.support.certificates import Authority
from tests.ztunnel_compat.ads_server import AdsServer, login, serving
from ztunnel_compat.csr import make_key
from ztunnel_compat.drivers.ca_client import CaClient
from ztunnel_compat.errors import CertificateError, CertificateFailure
from ztunnel_compat.identity import Identity

WEB = Identity("cluster.local", "apps", "web")
OTHER = Identity("cluster.local", "apps", "other")


@pytest.fixture
async def server() -> AsyncIterator[AdsServer]:
    async with serving() as server:
        yield server


async def failure_of(client: CaClient, said: str) -> CertificateFailure:
    """How fetching fails; said: a pattern of its message."""
    with pytest.raises(CertificateError, match=said) as caught:
        await client.fetch(WEB)
    return caught.value.failure


async def test_a_certificate_of_a_new_key_each_time(server: AdsServer) -> None:
    client = CaClient(login(server.port))
    first, second = await client.fetch(WEB), await client.fetch(WEB)
    assert [identity for identity, _ in server.ca.asked] == [str(WEB)] * 2
    _, headers = server.ca.asked[0]
    assert headers["authorization"] == f"Bearer {client.server.token.read_text().strip()}"
    assert headers["clusterid"] == "Kubernetes"
    assert first.identity == WEB
    assert first.secret() != second.secret()
    assert first.roots.count(b"BEGIN CERTIFICATE") == 1
    assert first.chain.count(b"BEGIN CERTIFICATE") == 2


async def test_who_is_no_agent_asks_in_nobodys_name(server: AdsServer) -> None:
    server.ca.identity = WEB
    fetched = await CaClient(login(server.port), agent=False).fetch(WEB)
    assert fetched.identity == WEB
    assert [identity for identity, _ in server.ca.asked] == [""]


async def test_several_roots(server: AdsServer) -> None:
    server.ca.roots = (make_issuer("cluster.local", 1.8e9),)
    fetched = await CaClient(login(server.port)).fetch(WEB)
    assert fetched.roots.count(b"BEGIN CERTIFICATE") == 2
    assert len(fetched.root_spans) == 2


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("UNAUTHENTICATED", CertificateFailure.REFUSED),
        ("PERMISSION_DENIED", CertificateFailure.REFUSED),
        ("INVALID_ARGUMENT", CertificateFailure.REFUSED),
        ("UNAVAILABLE", CertificateFailure.UNREACHABLE),
        ("DEADLINE_EXCEEDED", CertificateFailure.UNREACHABLE),
    ],
)
async def test_a_refusal_is_told_in_the_servers_words(
    server: AdsServer, code: str, failure: CertificateFailure
) -> None:
    server.ca.refusal = (grpc.StatusCode[code], "not for you")
    client = CaClient(login(server.port))
    assert await failure_of(client, rf"CA 127.0.0.1:\d+: {code}: not for you") is failure


async def test_an_answer_that_is_no_good(server: AdsServer) -> None:
    client = CaClient(login(server.port))
    server.ca.identity = OTHER
    wrong = f"asked for {WEB}, the certificate is for {OTHER}"
    assert await failure_of(client, wrong) is CertificateFailure.UNUSABLE
    server.ca.identity, server.ca.key = None, make_key().public_key()
    wrong = f"for {WEB} is for another key"
    assert await failure_of(client, wrong) is CertificateFailure.UNUSABLE
    server.ca.key = None
    later = CaClient(client.server, clock=lambda: 1e11)
    assert await failure_of(later, f"for {WEB} ended") is CertificateFailure.UNUSABLE


async def test_files_that_are_missing(server: AdsServer, tmp_path: Path) -> None:
    known = login(server.port)
    for lost in (replace(known, token=tmp_path / "x"), replace(known, roots=tmp_path / "x")):
        failure = await failure_of(CaClient(lost), "can't be read: No such file")
        assert failure is CertificateFailure.LOGIN
    assert server.ca.asked == []


async def test_a_server_that_is_another_or_away(server: AdsServer, tmp_path: Path) -> None:
    known = login(server.port)
    foreign = tmp_path / "roots.pem"
    foreign.write_bytes(Authority().roots)
    client = CaClient(replace(known, roots=foreign))
    assert await failure_of(client, "UNAVAILABLE") is CertificateFailure.UNREACHABLE
    assert server.ca.asked == []
    await server.kill()
    client = CaClient(known)
    refused = r"CA 127.0.0.1:\d+: UNAVAILABLE"
    assert await failure_of(client, refused) is CertificateFailure.UNREACHABLE
