from __future__ import annotations

import random

import pytest

from proto import zds_pb2
from tests.support.fuzz import mutate
from ztunnel_compat.errors import ZdsError
from ztunnel_compat.zds import (
    MAX_MESSAGE,
    AddWorkload,
    DelWorkload,
    KeepWorkload,
    SnapshotSent,
    decode_ack,
    decode_hello,
    decode_request,
    encode_ack,
    encode_hello,
    encode_request,
)

ADD = AddWorkload("u", "n", "s", "a")

# (value, descriptors beside it, bytes as istio-cni sends them)
REQUESTS = [
    (ADD, 1, "0a0e 0a0175 1209 0a016e 120173 1a0161"),
    (KeepWorkload("u"), 0, "2a03 0a0175"),
    (DelWorkload("u"), 0, "1203 120175"),
    (SnapshotSent(), 0, "1a00"),
]


@pytest.mark.parametrize(("request_", "descriptors", "wire"), REQUESTS)
def test_requests_on_the_wire(request_, descriptors, wire):
    data = bytes.fromhex(wire)
    assert encode_request(request_) == data
    assert decode_request(data, descriptors) == request_


@pytest.mark.parametrize(("request_", "descriptors", "wire"), REQUESTS)
def test_a_wrong_number_of_descriptors(request_, descriptors, wire):
    for wrong in {0, 1, 2} - {descriptors}:
        with pytest.raises(ZdsError, match=f"with {wrong} descriptors, not {descriptors}"):
            decode_request(bytes.fromhex(wire), wrong)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\xff\xff", "no WorkloadRequest"),
        (b"", "of no known kind"),
        (zds_pb2.WorkloadRequest(keep={}).SerializeToString(), "KeepWorkload without uid"),
        (
            zds_pb2.WorkloadRequest(add={"uid": "u"}).SerializeToString(),
            "AddWorkload u: name or namespace is missing",
        ),
    ],
)
def test_bad_requests(message, reason):
    with pytest.raises(ZdsError, match=reason):
        decode_request(message, 0)


def test_names_too_long_to_be_read_are_not_sent():
    fits = AddWorkload("u", "n" * (MAX_MESSAGE - 18), "s", "a")
    assert len(encode_request(fits)) == MAX_MESSAGE
    with pytest.raises(ZdsError, match="1025 bytes, at most 1024"):
        encode_request(AddWorkload("u", fits.name + "n", "s", "a"))


def test_hello():
    assert encode_hello() == b"\x08\x01"
    decode_hello(encode_hello())


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "version 0"), (b"\x08\x02", "version 2"), (b"\xff\xff", "no ZdsHello")],
)
def test_bad_hellos(data, reason):
    with pytest.raises(ZdsError, match=reason):
        decode_hello(data)


def test_acks():
    assert encode_ack() == b"\x0a\x00"
    assert decode_ack(encode_ack()) == ""
    assert decode_ack(encode_ack("no room")) == "no room"
    for data, reason in ((b"", "without an ack"), (b"\xff\xff", "no WorkloadResponse")):
        with pytest.raises(ZdsError, match=reason):
            decode_ack(data)


@pytest.mark.parametrize("error", ["x" * 5_000, "é" * 5_000, "x" + "é" * 5_000, "\udc80" * 9])
def test_an_acks_error_is_cut_to_fit(error):
    data = encode_ack(error)
    assert len(data) <= MAX_MESSAGE
    assert decode_ack(data)


def fuzz(inputs: int, seed: int) -> None:
    """Whatever comes, either way: a value or a ZdsError."""
    rng = random.Random(seed)
    requests = [ADD, KeepWorkload("u"), DelWorkload("u"), SnapshotSent()]
    seeds = [encode_hello(), encode_ack("no room"), *map(encode_request, requests)]
    for _ in range(inputs):
        data = mutate(rng, rng.choice(seeds))
        descriptors = rng.choice([0, 1, 1, 2])
        for decode in (decode_hello, decode_ack, lambda d, n=descriptors: decode_request(d, n)):
            try:
                decode(data)
            except ZdsError:
                continue


def test_fuzz() -> None:
    fuzz(3000, 1)


@pytest.mark.soak
def test_fuzz_long() -> None:
    fuzz(200_000, 2)
