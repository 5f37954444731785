"""What the first bytes of a connection say, however they are cut."""

from __future__ import annotations

import ssl

import pytest

from waypoint.layers.sniff import LINE_MOST, PREFACE, Kind, kind_of, kind_of_http, server_name


def hello(name: str | None) -> bytes:
    """A ClientHello of OpenSSL's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    made = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        made.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (PREFACE, Kind.HTTP2),
        (PREFACE + b"\0", Kind.HTTP2),
        (b"GET / HTTP/1.1\r\nHost: a", Kind.HTTP1),
        (b"\r\nGET / HTTP/1.1\r\n", Kind.HTTP1),
        (b"M-SEARCH * HTTP/1.1\r\n", Kind.HTTP1),
        (b"GET http://a/b HTTP/1.0\r\n", Kind.HTTP1),
        (b"PRI * HTTP/2.0\r\n\r\nSX", Kind.BYTES),
        (b"GET key\r\n", Kind.BYTES),
        (b"PING\r\n", Kind.BYTES),
        (b"*1\r\n$4\r\nPING\r\n", Kind.BYTES),
        (b"SSH-2.0-OpenSSH\r\n", Kind.BYTES),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", Kind.BYTES),
        (b"\x16\x99", Kind.BYTES),
        (b"GET / HTTP/3.0\r\n", Kind.BYTES),
        (b"G" * 40, Kind.BYTES),
        (b"GET /" + b"x" * LINE_MOST, Kind.BYTES),
        (hello("a.b"), Kind.TLS),
        (hello(None), Kind.TLS),
    ],
)
def test_kinds_and_their_beginnings(first: bytes, kind: Kind) -> None:
    assert kind_of(first) is kind
    for end in range(1, min(len(first), 64)):
        assert kind_of(first[:end]) in {None, kind}


@pytest.mark.parametrize("first", [b"G", b"GET", b"GET /a", b"P", PREFACE[:-1], b"\x16\x03"])
def test_more_bytes_will_tell(first: bytes) -> None:
    assert kind_of(first) is None


def test_where_it_is_http_anyway() -> None:
    assert kind_of_http(PREFACE) is Kind.HTTP2
    assert kind_of_http(PREFACE[:5]) is None
    assert kind_of_http(b"\x16\x03\x01") is Kind.HTTP1
    assert kind_of_http(b"PUT / ") is Kind.HTTP1


def test_the_server_s_name() -> None:
    assert server_name(hello("Web.Example.org")) == "web.example.org"
    assert server_name(hello(None)) == ""


def test_a_broken_hello_names_nobody() -> None:
    whole = hello("a.b")
    assert all(server_name(whole[:end]) in {"", "a.b"} for end in range(len(whole)))
    for position in range(5, len(whole)):
        broken = bytearray(whole)
        broken[position] ^= 0xFF
        assert isinstance(server_name(bytes(broken)), str)
