from __future__ import annotations

import pytest

from tests.ztunnel_compat.h2.ends import CONNECT, GET, OK
from ztunnel_compat.h2.errors import StreamFault
from ztunnel_compat.h2.fields import UNKNOWN, request_head, response_head, trailer_head

WEBSOCKET = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"https"),
    (b":path", b"/chat"),
    (b":authority", b"a"),
]


def without(fields, name):
    return [field for field in fields if field[0] != name]


def changed(fields, name, value):
    return [(n, value if n == name else v) for n, v in fields]


@pytest.mark.parametrize(
    ("fields", "length", "tunnel"),
    [
        (GET, UNKNOWN, False),
        ([*GET, (b"content-length", b"12"), (b"content-length", b"12")], 12, False),
        ([*GET, (b"te", b"trailers"), (b"x", b""), (b"y", b"a \t b\xff")], UNKNOWN, False),
        ([*GET, (b"host", b"A")], UNKNOWN, False),
        ([*without(GET, b":authority"), (b"host", b"a")], UNKNOWN, False),
        ([(b":method", b"OPTIONS"), *changed(GET, b":path", b"*")[1:]], UNKNOWN, False),
        ([(b":method", b"GET"), (b":scheme", b"foo"), (b":path", b"bar")], UNKNOWN, False),
        (CONNECT, UNKNOWN, True),
        ([*CONNECT, (b"content-length", b"5")], UNKNOWN, True),
        (WEBSOCKET, UNKNOWN, True),
    ],
)
def test_sound_requests(fields, length, tunnel):
    head = request_head(fields, extended=True)
    assert (head.fields, head.length, head.tunnel) == (fields, length, tunnel)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([], "without :method"),
        (without(GET, b":path"), "without :scheme or :path"),
        (without(GET, b":scheme"), "without :scheme or :path"),
        (changed(GET, b":path", b""), "without :scheme or :path"),
        (changed(GET, b":path", b"x"), ":path"),
        (changed(GET, b":path", b"*"), ":path"),
        (changed(GET, b":method", b""), "without :method"),
        (changed(GET, b":path", b"/\r\nx: y"), "control character"),
        (without(GET, b":authority"), "neither :authority nor host"),
        (changed(GET, b":authority", b""), ":authority b''"),
        (changed(GET, b":authority", b"me@a"), "me@a"),
        ([*GET, (b"host", b"b")], "but host"),
        ([*without(GET, b":authority"), (b"host", b"a"), (b"host", b"a")], "host twice"),
        ([*GET, (b":method", b"GET")], "':method' twice"),
        ([*GET, (b":status", b"200")], "unknown pseudo-fields"),
        ([*GET, (b"a", b"b"), (b":late", b"")], "field names"),
        ([*GET[1:], (b"a", b"b"), GET[0]], "without :method"),
        ([*GET, (b"Upper", b"x")], "Upper"),
        ([*GET, (b"", b"x")], "field names"),
        ([*GET, (b"sp ace", b"x")], "field names"),
        ([*GET, (b"a", b"x\r\ny")], "control character"),
        ([*GET, (b"a", b"x\x00")], "control character"),
        ([*GET, (b"a", b"x\x7f")], "control character"),
        ([*GET, (b"a", b" x")], "white space"),
        ([*GET, (b"a", b"x\t")], "white space"),
        ([*GET, (b"connection", b"close")], "connection in HTTP/2"),
        ([*GET, (b"transfer-encoding", b"chunked")], "transfer-encoding in HTTP/2"),
        ([*GET, (b"keep-alive", b"1")], "keep-alive in HTTP/2"),
        ([*GET, (b"proxy-connection", b"x")], "proxy-connection in HTTP/2"),
        ([*GET, (b"upgrade", b"h2c")], "upgrade in HTTP/2"),
        ([*GET, (b"te", b"gzip")], "te b'gzip'"),
        ([*GET, (b"content-length", b"1"), (b"content-length", b"2")], "two that differ"),
        ([*GET, (b"content-length", b"-1")], "content-length"),
        ([*GET, (b"content-length", b"")], "content-length"),
        ([*GET, (b"content-length", b"9" * 19)], "content-length"),
        ([*CONNECT, (b":path", b"/")], "CONNECT takes"),
        ([*CONNECT, (b":scheme", b"http")], "CONNECT takes"),
        (CONNECT[:1], "CONNECT takes"),
        ([(b":protocol", b"websocket"), *GET], ":protocol with b'GET'"),
        (without(WEBSOCKET, b":path"), "without :scheme or :path"),
    ],
)
def test_malformed_requests(fields, reason):
    with pytest.raises(StreamFault, match=reason):
        request_head(fields, extended=True)


def test_extended_connect_must_have_been_announced():
    with pytest.raises(StreamFault, match="not announced"):
        request_head(WEBSOCKET, extended=False)


def test_responses():
    head = response_head([*OK, (b"content-length", b"3")])
    assert (head.status, head.length) == (200, 3)
    bad = [[], [(b":status", b"20")], [(b":status", b"099")], [(b":status", b"101")]]
    bad += [[(b":status", b"abc")], [*OK, *OK], [*OK, (b":path", b"/")], [(b"a", b"b"), *OK]]
    for fields in bad:
        with pytest.raises(StreamFault):
            response_head(fields)


def test_trailers():
    assert trailer_head([(b"grpc-status", b"0")]).fields == [(b"grpc-status", b"0")]
    assert trailer_head([]).fields == []
    for fields in (OK, [(b"Upper", b"")], [(b"connection", b"close")]):
        with pytest.raises(StreamFault):
            trailer_head(fields)
