"""Request heads, by llhttp's categories."""

from __future__ import annotations

import pytest

from waypoint.errors import MessageError
from waypoint.layers.headers import CHUNKED
from waypoint.layers.request import Blocks, RequestHead, parse_request

HOST = b"Host: a\r\n"


def parse(line: bytes = b"GET / HTTP/1.1", fields: bytes = HOST) -> RequestHead:
    return parse_request(line + b"\r\n" + fields + b"\r\n")


def refusal(line: bytes = b"GET / HTTP/1.1", fields: bytes = HOST) -> int:
    with pytest.raises(MessageError) as caught:
        parse(line, fields)
    assert caught.value.details
    return caught.value.status


def test_a_sound_head_goes_on_byte_for_byte() -> None:
    raw = b"GET /a?b=c HTTP/1.1\r\nhOsT: A.b:80\r\nX:  y \r\nx: z\r\nUser-Agent: u\r\n\r\n"
    head = parse_request(raw)
    assert head.forward == raw[:-2]
    assert (head.request.method, head.request.path, head.request.authority) == (
        b"GET",
        b"/a?b=c",
        b"a.b:80",
    )
    assert (head.body, head.keep_alive, head.secret) == (0, True, False)
    assert (head.user_agent, head.request_id, head.forwarded_for) == (b"u", None, None)
    assert head.request.header(b"x") == b"y,z"
    assert head.request.header(b"none") is None
    assert head.request.header(b":method") == b"GET"
    assert head.request.header(b":path") == b"/a?b=c"
    assert head.request.header(b":authority") == b"a.b:80"
    assert head.request.header(b":scheme") == b"http"
    assert head.request.header(b":status") is None


@pytest.mark.parametrize(
    "method",
    [
        b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH",
        b"PROPFIND", b"M-SEARCH", b"PURGE", b"QUERY", b"X!#$%&'*+-.^_`|~9",
    ],
)  # fmt: skip
def test_any_token_is_a_method(method: bytes) -> None:
    assert parse(method + b" / HTTP/1.1").request.method == method


@pytest.mark.parametrize("method", [b"get", b"Get", b"GEt", b"PRI"])
def test_but_not_those_that_somebody_could_take_for_another(method: bytes) -> None:
    assert refusal(method + b" / HTTP/1.1") == 400


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1 ",
        b"GET  / HTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET /\tx HTTP/1.1",
        b"GET / HTTP/1.1\n",
        b"GET\t/ HTTP/1.1",
        b"GET / HTTP/11",
        b"GET / HTTP/1.",
        b"GET / HTTP/01.1",
        b"GET / http/1.1",
        b"GET / HTTPS/1.1",
        b"GET / ICE/1.0",
        b"GET /",
        b"GET",
        b"",
        b"G\x00T / HTTP/1.1",
        b"G(T / HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\xc3\xa9 HTTP/1.1",
        b"GET /#f HTTP/1.1",
        b"GET / HTTP/1.1\r",
    ],
)
def test_invalid_request_lines(line: bytes) -> None:
    assert refusal(line) == 400


@pytest.mark.parametrize(
    ("version", "status"),
    [(b"1.0", 426), (b"0.9", 505), (b"1.2", 505), (b"2.0", 505), (b"3.0", 505), (b"9.9", 505)],
)
def test_other_versions(version: bytes, status: int) -> None:
    assert refusal(b"GET / HTTP/" + version) == status


@pytest.mark.parametrize("line", [b"Host : a\r\n", b"X: a\r\n folded\r\n", b"X: a\nY: b\r\n"])
def test_broken_headers_come_before_the_version(line: bytes) -> None:
    assert refusal(b"GET / HTTP/1.0", HOST + line) == 400


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"Host: a\r\nHost: a\r\n",
        b"Host: a\r\nhost: b\r\n",
        b"Host:\r\n",
        b"Host: a b\r\n",
        b"Host: a/b\r\n",
        b"Host: u@a\r\n",
        b"Host: a:x\r\n",
        b"Host: a:123456\r\n",
        b"Host: [::1\r\n",
        b"Host: a,b\r\nHost: c\r\n",
        b"Host: a\xff\r\n",
        b"Host: a?b\r\n",
    ],
)
def test_bad_hosts(fields: bytes) -> None:
    assert refusal(fields=fields) == 400


@pytest.mark.parametrize("host", [b"a", b"a:80", b"a:", b"[::1]:80", b"1.2.3.4", b"a_b", b"A"])
def test_good_hosts(host: bytes) -> None:
    assert parse(fields=b"Host: " + host + b"\r\n").request.authority == host.lower()


# Content-Length


@pytest.mark.parametrize("value", [b"0", b"5", b"00", b"5 ", b"123456789012345678"])
def test_a_length(value: bytes) -> None:
    head = parse(b"POST / HTTP/1.1", HOST + b"Content-Length: " + value + b"\r\n")
    assert head.body == int(value)


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: \r\n",
        b"Content-Length: 4 2\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: -4\r\n",
        b"Content-Length: 0x4\r\n",
        b"Content-Length: 4,4\r\n",
        b"Content-Length: 4\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\ncontent-length: 5\r\n",
        b"Content-Length: 4;q=1\r\n",
        b"Content-Length: 1844674407370955161500\r\n",
        b"Content-Length: \xd9\xa1\r\n",
    ],
)
def test_bad_lengths(fields: bytes) -> None:
    assert refusal(b"POST / HTTP/1.1", HOST + fields) == 400


# Transfer-Encoding


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b" chunked ", b"chunked\t"])
def test_chunked(value: bytes) -> None:
    fields = HOST + b"Transfer-Encoding:" + value + b"\r\n"
    assert parse(b"POST / HTTP/1.1", fields).body == CHUNKED


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Transfer-Encoding: identity\r\n", 400),
        (b"Transfer-Encoding: chunked, identity\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", 400),
        (b"Transfer-Encoding: chunked, chunked\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding: chunked;a=b\r\n", 400),
        (b"Transfer-Encoding: xchunked\r\n", 400),
        (b"Transfer-Encoding: chunkedx\r\n", 400),
        (b"Transfer-Encoding: \x0bchunked\r\n", 400),
        (b'Transfer-Encoding: "chunked"\r\n', 400),
        (b"Transfer-Encoding:\r\n", 400),
        (b"Transfer-Encoding: ,chunked\r\n", 400),
        (b"Transfer-Encoding: chunked,\r\n", 400),
        (b"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding: gzip, chunked\r\n", 501),
        (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", 501),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Content-Length: 5\r\nTransfer-Encoding: identity\r\n", 400),
        (b"Transfer-Encoding : chunked\r\n", 400),
        (b"Transfer_Encoding: chunked\r\nTransfer-Encoding: x\r\n", 400),
    ],
)
def test_bad_codings(fields: bytes, status: int) -> None:
    assert refusal(b"POST / HTTP/1.1", HOST + fields) == status


def test_a_length_is_forwarded_as_it_came() -> None:
    fields = HOST + b"Content-Length: 005\r\n"
    assert b"Content-Length: 005\r\n" in parse(b"POST / HTTP/1.1", fields).forward


# Targets


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://a/x?y", b"/x?y"),
        (b"HTTP://A", b"/"),
        (b"http://a/", b"/"),
        (b"//x", b"//x"),
        (b'/a|{}"<>\\^`', b'/a|{}"<>\\^`'),
    ],
)
def test_targets_in_origin_form(target: bytes, path: bytes) -> None:
    head = parse(b"GET " + target + b" HTTP/1.1")
    assert head.request.path == path
    assert head.forward == b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "target",
    [b"http://b/", b"http://a:80/", b"http://u@a/", b"http:///", b"https://a/", b"ftp://a/",
     b"x", b"*", b"http:/a", b"a:80", b"http://"],
)  # fmt: skip
def test_bad_targets(target: bytes) -> None:
    assert refusal(b"GET " + target + b" HTTP/1.1") == 400


def test_the_whole_server_is_only_for_options() -> None:
    assert parse(b"OPTIONS * HTTP/1.1").request.path == b"*"


@pytest.mark.parametrize("target", [b"a:80", b"http://a/", b"*"])
def test_connect_is_not_supported(target: bytes) -> None:
    assert refusal(b"CONNECT " + target + b" HTTP/1.1") == 403


# Connection


@pytest.mark.parametrize(
    ("value", "keep"),
    [(b"close", False), (b"Close", False), (b"keep-alive", True), (b"x, CLOSE ,y", False),
     (b"upgrade", True), (b"closed", True), (b"", True)],
)  # fmt: skip
def test_connection_options(value: bytes, keep: bool) -> None:
    head = parse(fields=HOST + b"Connection: " + value + b"\r\nA: b\r\n")
    assert head.keep_alive is keep
    assert head.forward == b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n"


def test_upgrades_are_taken_out() -> None:
    fields = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n"
    assert parse(fields=HOST + fields).forward == b"GET / HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize("name", [b"host", b"Content-Length", b"transfer-encoding"])
def test_connection_names_framing(name: bytes) -> None:
    assert refusal(fields=HOST + b"Connection: " + name + b"\r\n") == 400


def test_a_request_id_that_goes_no_further_counts_as_none() -> None:
    fields = HOST + b"Connection: x-request-id\r\nX-Request-Id: 7\r\n"
    head = parse(fields=fields)
    assert head.request_id is None
    assert b"7" not in head.forward


def test_heads_with_secrets_say_so() -> None:
    for name in (b"Authorization", b"cookie", b"Proxy-Authorization"):
        assert parse(fields=HOST + name + b": x\r\n").secret


def test_expectations_go_on() -> None:
    fields = HOST + b"Expect: 100-continue\r\nContent-Length: 1\r\n"
    assert b"Expect: 100-continue" in parse(b"PUT / HTTP/1.1", fields).forward


def test_header_lines_are_remembered_from_their_second_sighting_on() -> None:
    blocks = Blocks()
    lines = b"Host: web\r\nX: a\r\n"
    for path, known in ((b"/1", False), (b"/2", False), (b"/3", True), (b"/4", True)):
        raw = b"GET " + path + b" HTTP/1.1\r\n" + lines + b"\r\n"
        before = blocks.block
        assert parse_request(raw, blocks) == parse_request(raw)
        assert (blocks.block is before is not None) is known
    other = b"POST /5 HTTP/1.1\r\nHost: web\r\nContent-Length: 1\r\n\r\n"
    assert parse_request(other, blocks) == parse_request(other)
    assert blocks.block is None


def test_long_header_lines_are_read_each_time() -> None:
    blocks = Blocks()
    raw = b"GET / HTTP/1.1\r\nHost: web\r\nX: " + b"a" * 4096 + b"\r\n\r\n"
    for _ in range(3):
        assert parse_request(raw, blocks) == parse_request(raw)
        assert blocks.block is None


@pytest.mark.parametrize("line", ["GET / HTTP/1.1", "POST http://web/a HTTP/1.1", "G T"])
@pytest.mark.parametrize(
    "lines",
    [
        "Host: web",
        "Host: web\r\nConnection: upgrade, x\r\nUpgrade: websocket\r\nX: a",
        "Host : w",
    ],
)
def test_remembered_or_not_the_same_is_read(line: str, lines: str) -> None:
    blocks = Blocks()
    raw = f"{line}\r\n{lines}\r\n\r\n".encode()
    seen = []
    for _ in range(4):
        try:
            seen.append(parse_request(raw, blocks))
        except MessageError as error:
            seen.append(str(error))
    assert all(each == seen[0] for each in seen)
