"""PROXY v2 headers: both ways, in pieces, and what isn't one."""

from __future__ import annotations

import random
import struct

import pytest

from tests.support.fuzz import mutate
from ztunnel_compat.errors import ProxyError
from ztunnel_compat.identity import Identity
from ztunnel_compat.proxy_protocol import (
    MAX_HEADER,
    SIGNATURE,
    ProxyHeader,
    encode_proxy,
    parse_proxy,
)

WHO = Identity("cluster.local", "apps", "client")
V4 = ProxyHeader(bytes([10, 0, 0, 1]), 4711, bytes([10, 96, 0, 7]), 80, WHO)
V6 = ProxyHeader(bytes([0xFD] + [0] * 14 + [1]), 1, bytes([0xFD] + [0] * 14 + [2]), 65535, WHO)
MIXED = ProxyHeader(V4.source, 4711, V6.destination, 80, WHO)
NOBODY = ProxyHeader(V4.source, 4711, V4.destination, 80)


def raw(body: bytes, *, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


ADDRESSES = bytes([10, 0, 0, 1, 10, 96, 0, 7]) + struct.pack("!HH", 4711, 80)


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


@pytest.mark.parametrize("header", [V4, V6, MIXED, NOBODY])
def test_what_is_written_is_read(header: ProxyHeader) -> None:
    data = encode_proxy(header)
    assert parse_proxy(data) == (header, len(data))
    assert parse_proxy(data + b"more") == (header, len(data))


def test_the_bytes_are_ztunnel_s() -> None:
    body = ADDRESSES + tlv(0xD0, b"spiffe://cluster.local/ns/apps/sa/client")
    assert encode_proxy(V4) == raw(body)


@pytest.mark.parametrize("header", [V4, V6, MIXED])
def test_any_beginning_asks_for_more(header: ProxyHeader) -> None:
    data = encode_proxy(header)
    assert all(parse_proxy(data[:size]) is None for size in range(len(data)))


def test_other_tlvs_are_passed_over() -> None:
    body = ADDRESSES + tlv(0x04, bytes(7)) + tlv(0xD0, str(WHO).encode()) + tlv(0xD1, b"x")
    found = parse_proxy(raw(body))
    assert found is not None
    assert found[0] == V4


def test_an_ipv4_mapped_address_is_ipv4() -> None:
    mapped = bytes(10) + b"\xff\xff"
    body = mapped + ADDRESSES[:4] + mapped + ADDRESSES[4:8] + ADDRESSES[8:]
    found = parse_proxy(raw(body, family=0x21))
    assert found is not None
    assert found[0] == NOBODY


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"G", "signature"),
        (b"GET / HTTP/1.1\r\n", "signature"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n", "signature"),
        (SIGNATURE[:11] + b"\r", "signature"),
        (raw(ADDRESSES, command=0x20), "command 0x20"),
        (raw(ADDRESSES, command=0x11), "command 0x11"),
        (raw(b"", family=0x00), "family 0x00"),
        (raw(ADDRESSES, family=0x12), "family 0x12"),
        (raw(bytes(216), family=0x31), "family 0x31"),
        (raw(ADDRESSES[:-1]), "11 bytes of addresses"),
        (raw(ADDRESSES, family=0x21), "12 bytes of addresses"),
        (raw(bytes(MAX_HEADER - 15))[:16], "are taken at most"),
        (raw(ADDRESSES + b"\xd0\x00"), "cut off"),
        (raw(ADDRESSES + b"\xd0\x00\x05abcd"), "of which 4 came"),
        (raw(ADDRESSES + tlv(0xD0, b"spiffe://a/ns/b")), "no workload identity"),
        (raw(ADDRESSES + tlv(0xD0, b"\xff")), "0xd0"),
        (raw(ADDRESSES + 2 * tlv(0xD0, str(WHO).encode())), "two identities"),
    ],
)
def test_what_is_no_header_is_said_to_be_none(data: bytes, said: str) -> None:
    with pytest.raises(ProxyError, match=said):
        parse_proxy(data)


def test_an_identity_that_is_too_long_isn_t_sent() -> None:
    with pytest.raises(ValueError, match="too long"):
        encode_proxy(
            ProxyHeader(V4.source, 1, V4.destination, 2, Identity("a" * 5000, "b", "c"))
        )


def fuzz(inputs: int, seed: int) -> None:
    """Whatever comes: a header, a wish for more, or a ProxyError."""
    rng = random.Random(seed)
    seeds = [encode_proxy(header) for header in (V4, V6, MIXED, NOBODY)]
    for _ in range(inputs):
        data = mutate(rng, rng.choice(seeds))
        try:
            found = parse_proxy(data)
        except ProxyError:
            continue
        if found is None:
            assert len(data) < MAX_HEADER
        else:
            header, size = found
            assert parse_proxy(encode_proxy(header)) is not None
            assert size <= len(data)


def test_fuzz() -> None:
    fuzz(3000, 1)


@pytest.mark.soak
def test_fuzz_long() -> None:
    fuzz(200_000, 2)
