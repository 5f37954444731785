"""Real TLS 1.3 handshakes between contexts."""

from __future__ import annotations

import asyncio
import gc
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.standalone.control.ca.certificates import pem
from tests.ztunnel_compat.credentials.ca import (
    CLIENT,
    WEB,
    handshake,
    issue,
    new_issuer,
    self_signed,
)
from ztunnel_compat.certificates import Certificate, peer_identity, verify_peer
from ztunnel_compat.credentials.contexts import Contexts, choosing_context, make_contexts
from ztunnel_compat.errors import CertificateError
from ztunnel_compat.identity import Identity

ISSUER = new_issuer()


def contexts(**how: object) -> Contexts:
    return make_contexts(issue(ISSUER, **how))  # type: ignore[arg-type]


async def test_both_ends_see_each_other() -> None:
    ours, theirs = contexts(identity=CLIENT), contexts(identity=WEB)
    server, client = await handshake(ours.client, theirs.server)
    assert (peer_identity(server), peer_identity(client)) == (WEB, CLIENT)


async def test_while_the_root_changes_both_are_good() -> None:
    other = new_issuer()
    both = (ISSUER, other)
    old = make_contexts(issue(ISSUER, CLIENT, roots=both))
    new = make_contexts(issue(other, WEB, roots=both))
    await handshake(old.client, new.server)
    await handshake(new.client, old.server)


REFUSED = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)


async def test_a_server_that_chooses_shows_what_was_chosen_and_trusts_its_roots() -> None:
    named: list[str | None] = []
    theirs = {identity: contexts(identity=identity).server for identity in (CLIENT, WEB)}
    for identity, context in theirs.items():

        def choose(name: str | None, chosen: ssl.SSLContext = context) -> ssl.SSLContext:
            named.append(name)
            return chosen

        ours = contexts(identity=CLIENT).client
        server, client = await handshake(ours, choosing_context(choose))
        assert (peer_identity(server), peer_identity(client)) == (identity, CLIENT)
        with pytest.raises(REFUSED):
            await handshake(make_contexts(foreign()).client, choosing_context(choose))
    assert named == [None] * 4


async def test_a_server_that_chooses_none_refuses() -> None:
    with pytest.raises(REFUSED):
        await handshake(contexts().client, choosing_context(lambda _: None))


def ended() -> Certificate:
    return issue(ISSUER, now=time.time() - 3600, seconds=1800)


def foreign() -> Certificate:
    """Of another CA, and trusting ours: only its peers may object."""
    return replace(issue(new_issuer()), roots=pem(ISSUER.root))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (ended, "certificate has expired"),
        (foreign, "unable to get local issuer certificate"),
        (
            lambda: self_signed(WEB, ISSUER),
            "self-signed certificate|unable to get local issuer",
        ),
    ],
    ids=["ended", "foreign", "self-signed"],
)
async def test_what_our_roots_do_not_vouch_for_is_refused_either_way(
    make: Callable[[], Certificate], said: str
) -> None:
    good, bad = contexts(), make_contexts(make())
    with pytest.raises(ssl.SSLCertVerificationError, match=said):
        await handshake(good.client, bad.server)
    # The client learns of it by an alert, or by the connection's end.
    with pytest.raises(REFUSED):
        await handshake(bad.client, good.server)


async def test_who_it_is_is_seen_to_once_the_handshake_is_done() -> None:
    old = Identity("old.example", "apps", "client")
    ours, theirs = contexts(identity=old), contexts(identity=WEB)
    server, client = await handshake(ours.client, theirs.server)
    with pytest.raises(CertificateError, match=f"{old} is of another trust domain"):
        verify_peer(client, {"cluster.local"})
    assert verify_peer(client, {"cluster.local", "old.example"}) == old
    with pytest.raises(CertificateError, match=f"the peer is {WEB}, expected {CLIENT}"):
        verify_peer(server, {"cluster.local"}, {CLIENT})
    assert verify_peer(server, {"cluster.local"}, {CLIENT, WEB}) == WEB


async def test_roots_that_were_dropped_are_trusted_no_more() -> None:
    other = new_issuer()
    before = make_contexts(issue(ISSUER, CLIENT))
    after = make_contexts(issue(other, WEB))
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(before.client, after.server)


async def test_a_client_without_a_certificate_or_with_older_tls_is_refused() -> None:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname = False
    bare.verify_mode = ssl.CERT_NONE
    with pytest.raises(REFUSED):
        await handshake(bare, contexts().server)
    old = contexts().client
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(REFUSED):
        await handshake(old, contexts().server)


def test_no_file_is_left() -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    # What tests before this one left to the collector must not go in between.
    gc.collect()
    before = opened()
    contexts()
    assert opened() == before


def test_a_key_that_does_not_fit() -> None:
    one, other = issue(ISSUER), issue(ISSUER)
    with pytest.raises(CertificateError, match=f"for {WEB} can't be used"):
        make_contexts(replace(one, key=other.key))
