from __future__ import annotations

import random
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from deploy.standalone.control.ca.certificates import Issuer, make_issuer, make_leaf, pem
from tests.support.certificates import Authority
from ztunnel_compat.certificates import certificate_of, peer_identity, verify_peer
from ztunnel_compat.csr import Key, make_key
from ztunnel_compat.errors import CertificateError, IdentityError
from ztunnel_compat.identity import Identity

WEB = Identity("cluster.local", "apps", "web")
OTHER = Identity("cluster.local", "apps", "other")
NOW = time.time()


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return make_issuer("cluster.local", NOW)


def answer(
    issuer: Issuer, key: Key, identity: Identity = WEB, seconds: int = 3600
) -> list[str]:
    leaf = make_leaf(issuer, identity, key.public_key(), NOW, seconds)
    return [pem(one).decode() for one in (leaf, issuer.intermediate, issuer.root)]


def der(*uris: str, dns: str = "") -> bytes:
    leaf, _ = Authority().issue(*uris, dns=dns)
    return x509.load_pem_x509_certificate(leaf).public_bytes(Encoding.DER)


def test_a_chain_with_several_roots(issuer: Issuer) -> None:
    key, second = make_key(), make_issuer("cluster.local", NOW)
    leaf, intermediate, root = answer(issuer, key)
    both = root + pem(second.root).decode()
    made = certificate_of([leaf, intermediate, both], WEB, key, NOW)
    assert made.chain.decode() == leaf + intermediate
    assert made.roots.decode() == both
    [span, intermediate_span] = made.spans
    assert (made.ends, made.half) == (span.begins + 3600, span.begins + 1800)
    assert intermediate_span.ends > made.ends
    assert [each.serial for each in made.root_spans] == [
        each.root.serial_number for each in (issuer, second)
    ]
    assert b"PRIVATE KEY" in made.secret()
    assert "key" not in repr(made)


def test_what_cannot_be_used_is_refused(issuer: Issuer) -> None:
    key = make_key()
    leaf, intermediate, root = answer(issuer, key)
    for chain, said in (
        ([], "cert_chain has 0 elements"),
        ([leaf], "cert_chain has 1 elements"),
        (["nonsense", root], "element 0 of cert_chain is no certificate"),
        ([leaf, ""], "element 1 of cert_chain is no certificate"),
        (answer(issuer, make_key()), "is for another key"),
        (answer(issuer, key, OTHER), f"asked for {WEB}, the certificate is for {OTHER}"),
        ([intermediate, root], "is for another key"),
    ):
        with pytest.raises(CertificateError, match=said):
            certificate_of(chain, WEB, key, NOW)
    with pytest.raises(CertificateError, match="ended"):
        certificate_of([leaf, root], WEB, key, NOW + 3600)


def test_clocks_may_differ_a_little(issuer: Issuer) -> None:
    key = make_key()
    chain = answer(issuer, key)
    assert certificate_of(chain, WEB, key, NOW - 50).identity == WEB
    with pytest.raises(CertificateError, match=r"holds from .* is the time of this machine"):
        certificate_of(chain, WEB, key, NOW - 70)


def test_a_chain_that_nobody_would_believe(issuer: Issuer) -> None:
    key, stranger = make_key(), make_issuer("cluster.local", NOW)
    leaf, intermediate, root = answer(issuer, key)
    other, foreign = pem(stranger.intermediate).decode(), pem(stranger.root).decode()
    for chain, said in (
        ([leaf, other, foreign], "the leaf is not signed by what follows it, CN=Tandem inter"),
        ([leaf, intermediate, other, foreign], "CN=Tandem intermediate .* is not signed by"),
        ([leaf, intermediate, foreign], "none of its 1 roots signed CN=Tandem intermediate"),
        ([leaf, root], "none of its 1 roots signed the leaf"),
    ):
        with pytest.raises(CertificateError, match=said):
            certificate_of(chain, WEB, key, NOW)
    # An intermediate may stand with the leaf.
    assert certificate_of([leaf + intermediate, root], WEB, key, NOW).identity == WEB


@pytest.mark.parametrize(
    ("uris", "said"),
    [
        ((), "0 URI SANs"),
        ((str(WEB), str(OTHER)), "2 URI SANs"),
        (("https://cluster.local/ns/apps/sa/web",), "is no workload identity"),
    ],
)
def test_a_certificate_that_is_no_svid(uris: tuple[str, ...], said: str) -> None:
    with pytest.raises(IdentityError, match=said):
        peer_identity(der(*uris, dns="web"))


def test_an_authority_is_no_workload() -> None:
    builder = x509.CertificateBuilder(subject_name=x509.Name([]), issuer_name=x509.Name([]))
    key = make_key()
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(WEB))])
    authority = (
        builder.public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=1))
        .add_extension(names, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(IdentityError, match=f"of {WEB} is an authority's"):
        peer_identity(authority.public_bytes(Encoding.DER))


def test_no_certificate_at_all() -> None:
    with pytest.raises(IdentityError, match="no certificate"):
        peer_identity(b"nonsense")
    with pytest.raises(CertificateError, match="has shown no certificate"):
        verify_peer(None, {"cluster.local"})


def test_who_is_expected() -> None:
    shown = der(str(WEB))
    assert peer_identity(shown) == WEB
    assert verify_peer(shown, {"cluster.local"}) == WEB
    assert verify_peer(shown, {"old.example", "cluster.local"}, {OTHER, WEB}) == WEB
    with pytest.raises(CertificateError, match=f"the peer is {WEB}, expected {OTHER}"):
        verify_peer(shown, {"cluster.local"}, {OTHER})
    with pytest.raises(CertificateError, match="expected nobody"):
        verify_peer(shown, {"cluster.local"}, ())
    with pytest.raises(CertificateError, match=r"another trust domain than old\.example"):
        verify_peer(shown, {"old.example"}, {WEB})
    with pytest.raises(CertificateError, match="0 URI SANs"):
        verify_peer(der(dns="web"), {"cluster.local"})


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_broken_bytes_are_told_apart_from_bugs(issuer: Issuer) -> None:
    rng = random.Random(5)
    key = make_key()
    leaf, intermediate, root = map(ssl.PEM_cert_to_DER_cert, answer(issuer, key))

    def broken(good: bytes) -> bytes:
        made = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 4))):
            place = rng.randrange(len(made))
            if rng.random() < 0.3:
                del made[place]
            else:
                made[place] ^= rng.randrange(1, 256)
        return bytes(made)

    refused = 0
    for _ in range(3000):
        with suppress(IdentityError):
            peer_identity(broken(leaf))
        elements = [leaf, intermediate, root]
        which = rng.randrange(3)
        elements[which] = broken(elements[which])
        try:
            made = certificate_of([*map(ssl.DER_cert_to_PEM_cert, elements)], WEB, key, NOW)
        except CertificateError:
            refused += 1
        else:
            # Nobody signed a root but itself: its other fields are for others to judge.
            assert (which, made.identity) == (2, WEB)
    assert refused > 2000
