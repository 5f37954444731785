from __future__ import annotations

import ssl
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.standalone.control.ca.certificates import (
    half_life,
    make_intermediate,
    make_issuer,
    make_key,
    make_leaf,
    make_server,
    pem,
    pem_of_key,
)
from ztunnel_compat.identity import Identity

NOW = time.time()
ISSUER = make_issuer("cluster.local", NOW)
WEB = Identity("cluster.local", "shop", "web")


def basic(certificate: x509.Certificate) -> tuple[bool, int | None]:
    found = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    return found.ca, found.path_length


def test_a_root_signs_an_intermediate_that_signs_no_other() -> None:
    assert basic(ISSUER.root) == (True, 1)
    assert basic(ISSUER.intermediate) == (True, 0)
    ISSUER.intermediate.verify_directly_issued_by(ISSUER.root)
    assert isinstance(ISSUER.root.public_key(), ec.EllipticCurvePublicKey)
    again = make_issuer("cluster.local", NOW)
    assert again.root.subject != ISSUER.root.subject, "chains are put together by names"


def test_a_leaf_says_who_it_is_and_nothing_more() -> None:
    leaf = make_leaf(ISSUER, WEB, make_key().public_key(), NOW, 60)
    assert basic(leaf) == (False, None)
    assert leaf.not_valid_before_utc.timestamp() == int(NOW), "not dated back"
    assert half_life(leaf) == int(NOW) + 30
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign


def test_nothing_outlives_its_issuer() -> None:
    late = ISSUER.intermediate.not_valid_after_utc.timestamp() - 10
    leaf = make_leaf(ISSUER, WEB, make_key().public_key(), late, 3600)
    assert leaf.not_valid_after_utc == ISSUER.intermediate.not_valid_after_utc
    late = ISSUER.root.not_valid_after_utc.timestamp() - 10
    intermediate, _ = make_intermediate(ISSUER.root, ISSUER.root_key, late)
    assert intermediate.not_valid_after_utc == ISSUER.root.not_valid_after_utc


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
    assert not ends


def context(kind: int, folder: Path, certificate: bytes, key: bytes) -> ssl.SSLContext:
    made = ssl.SSLContext(kind)
    file = folder / f"{kind}.pem"
    file.write_bytes(certificate + key)
    made.load_cert_chain(file)
    made.load_verify_locations(cadata=pem(ISSUER.root).decode())
    return made


def test_openssl_takes_them_as_client_and_as_server(tmp_path: Path) -> None:
    key = make_key()
    leaf = make_leaf(ISSUER, WEB, key.public_key(), NOW, 3600)
    chain = pem(leaf) + pem(ISSUER.intermediate)
    made = make_server(ISSUER, ("istiod.istio-system.svc", "10.1.2.3", "fd00::1"), NOW)
    server = context(ssl.PROTOCOL_TLS_SERVER, tmp_path, made.chain, made.key)
    server.verify_mode = ssl.CERT_REQUIRED
    client = context(ssl.PROTOCOL_TLS_CLIENT, tmp_path, chain, pem_of_key(key))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    server.verify_flags |= ssl.VERIFY_X509_STRICT
    for name in ("istiod.istio-system.svc", "10.1.2.3", "fd00::1"):
        handshake(client, server, name)
