"""Messages that two parsers may read differently: name → bytes.

A request's path begins with ``/=0=``, for which its number is put in, so that an upstream
that everybody shares knows whose it is. Each is followed by a sound one, with which the
connection ends: what of it is read tells how the first was.
"""

from __future__ import annotations

from tests.attacks.test_http1_requests import CHUNKS

END = b"GET /=0=end HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"
BODY = b"5\r\nhello\r\n0\r\n\r\n"
OK = b"HTTP/1.1 200 OK"
FIVE = "Content-Length: 5"
LENGTHS = (
    "5", " 5", "5 ", "\t5", "05", "0000000005", "+5", "-5", "5,5", "5, 5", "5,6", "0x5", "5;",
    "5.0", "5 5", "5_0", "", "\x0b5", "5\x0b", "\u0665", "5\x00", "18446744073709551621",
    "4294967301", "5a", "'5'", '"5"', "1e1", "0", "00",
)  # fmt: skip
CODINGS = (
    "chunked", "Chunked", "CHUNKED", "  chunked", "chunked ", "\tchunked", "chunked,",
    ",chunked", "chunked, identity", "identity, chunked", "chunked, chunked", "chunked;a=b",
    '"chunked"', "'chunked'", "x", "", "identity", "gzip", "gzip, chunked", "chunked, gzip",
    "chunked\x0b", "\x0bchunked", "\x0cchunked", "chunked\x00", "chun ked", "chunke\u212a",
    "xchunked", "chunked-x", "deflate, chunked", "trailers", "chunked\t",
)  # fmt: skip
HOSTS = (
    "web", "WEB", "web:80", "web:", "web:x", "web:99999", "web.", "a@web", "web/x",
    "web, web", "web web", " web ", "", "[::1]", "[::1", "::1", "we%62", "wéb", "web\\x",
    "web?x", "web#x", "<web>", "web\t", "127.0.0.1", "-", "*",
)  # fmt: skip
TARGETS = (
    "/=0=", "/=0=?a", "/=0=#a", "/=0= a", "/=0=\ta", "/=0=%00", "/=0=%zz", "/=0=%", "/=0=//b",
    "/=0=/../b", "/=0=/./b", "/=0=\\b", "/=0=;b", "/=0=é", "/=0=\x7f", "/=0=\x01", '/=0="',
    "/=0=<b>", "/=0={b}", "/=0=|b", "/=0=^b", "/=0=`b", "//web/=0=", "http://web/=0=",
    "HTTP://web/=0=", "http://other/=0=", "http://web:80/=0=", "https://web/=0=",
    "http://a@web/=0=", "http:///=0=", "http:/=0=", "http://web?=0=", "ftp://web/=0=",
    "web/=0=", "=0=", "*", "", "/=0=%2e%2e/b", "/=0=%2fb", "/=0=?a=%00", "/=0=?a?b",
    "/=0=?a#b", "/=0=%0d%0aX:y",
)  # fmt: skip
METHODS = (
    "get", "GeT", "HEAD", "POST", "FOO", "G-T", "G_T", "G@T", "G T", "GET\t", "", "OPTIONS",
    "TRACE", "CONNECT", "PRI", "M-SEARCH", "GET:", "G\x00T", "GÉT", "A" * 50,
)  # fmt: skip
VERSIONS = (
    "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/1.10", "HTTP/01.1",
    "HTTP/1.01", "http/1.1", "HTTP/1", "HTTP/1.", "HTTP/11", "HTP/1.1", "HTTP/1.1x",
    "HTTP/1.1 ", " HTTP/1.1", "HTTP/ 1.1", "HTTP /1.1", "HTTP/1,1", "HTTP/3.0", "",
)  # fmt: skip
LINES = (
    "X : a", "X: a\n b", "X: a\r\n b", "X: a\r\n\tb", " X: a", "X", "X a", ": a", "X:a", "X:",
    "X: ", "X\t: a", "X\x00: a", "X\x0b: a", "X: a\x00b", "X: a\x01b", "X: a\x7fb",
    "X: a\x0bb", "X: é", "X: a\rb", "X: a\r", "X: a\nY: b", "X: a\n", "\n", "X(: a", "X): a",
    "X,: a", "X/: a", "X[: a", "X]: a", "X{: a", "X}: a", 'X": a', "X@: a", "X?: a", "X=: a",
    "X\\: a", "X;: a", "Xé: a", "X_Y: a", "X.Y: a", "X!#$%&'*+-^`|~: a", "X: a:b", "X:: a",
    "Content-Length : 5", "Content-Length: 5\r\n ", "Content_Length: 5",
    "Content-Length\x00: 5", "Content-Length: 5\r", "Content-Length: 5\n",
    "Transfer-Encoding : chunked", "Transfer-Encoding: chunked\r",
    "Transfer_Encoding: chunked", "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding: \r\n\tchunked", "Transfer-Encoding\r\n: chunked",
    "Transfer-Encoding: chunked\n", "X: a\n\nGET /=0=smuggled HTTP/1.1",
    "X: a\r\rTransfer-Encoding: chunked", "X: a\nTransfer-Encoding: chunked", "Foo\r\nX: a",
    "X: a\r\n\r", "Host: web", "host: web", "Host: other", "Host : other", "Host:",
    "HOST:other", "Connection: close", "Connection: Host", "Connection: content-length",
    "Connection: x, y", "Connection: transfer-encoding", "Connection: keep-alive",
    "Connection:\x0bclose", "Expect: 100-continue", "Expect: x", "Upgrade: h2c",
    "Upgrade: websocket", "TE: trailers",
    "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk", "TE: gzip",
    "Trailer: X", "Keep-Alive: 5", "Proxy-Connection: close",
    "Content-Length: 0\r\nContent-Length: 0", "Content-Length: 0\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length: 5",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "Content-Length: 5\r\nTransfer-Encoding: identity",
    "Content-Length: 5\r\nTransfer-Encoding: x", "Content-Length: 5\r\nTransfer-Encoding:",
    "Content-Length: 5\r\nTransfer-Encoding : chunked",
    "Content-Length: 5\r\nTransfer-Encoding: \x0bchunked",
    "Content-Length: 15\r\ntransfer-encoding: xchunked",
)  # fmt: skip
MORE_CHUNKS = {
    "zeros before a size": b"0000000005\r\nhello\r\n0\r\n\r\n",
    "many zeros before a size": b"0" * 40 + b"5\r\nhello\r\n0\r\n\r\n",
    "zeros as the last": b"5\r\nhello\r\n000\r\n\r\n",
    "a size in upper case": b"A\r\nhellohello\r\n0\r\n\r\n",
    "an extension": b"5;a=b\r\nhello\r\n0\r\n\r\n",
    "an extension in quotes": b'5;a="b;c"\r\nhello\r\n0\r\n\r\n',
    "an extension of one word": b"5;a\r\nhello\r\n0;b\r\n\r\n",
    "a trailer": b"5\r\nhello\r\n0\r\nX: a\r\n\r\n",
    "a size that goes on in C": b"5 ;a\r\nhello\r\n0\r\n\r\n",
    "a size and tab": b"5\t\r\nhello\r\n0\r\n\r\n",
    "an underscore in a size": b"0_5\r\nhello\r\n0\r\n\r\n",
    "no last chunk's line": b"5\r\nhello\r\n0\r\n",
    "a chunk without its end": b"5\r\nhello0\r\n\r\n",
}
STARTS = {
    "an empty line before it": b"\r\n",
    "two empty lines before it": b"\r\n\r\n",
    "LF before it": b"\n",
    "CR before it": b"\r",
    "a space before it": b" ",
    "a null before it": b"\x00",
    "a BOM before it": b"\xef\xbb\xbf",
}


def requests() -> dict[str, bytes]:
    """All of them."""
    found = {"a sound one": b"GET /=0= HTTP/1.1\r\nHost: web\r\n\r\n"}
    for value in LENGTHS:
        found[f"Content-Length: {value!r}"] = post(f"Content-Length: {value}", b"hello")
    for value in CODINGS:
        found[f"Transfer-Encoding: {value!r}"] = post(f"Transfer-Encoding: {value}", BODY)
        both = f"Content-Length: 15\r\nTransfer-Encoding: {value}"
        found[f"Content-Length and Transfer-Encoding: {value!r}"] = post(both, BODY)
    for value in HOSTS:
        found[f"Host: {value!r}"] = f"GET /=0= HTTP/1.1\r\nHost: {value}\r\n\r\n".encode()
    for value in TARGETS:
        found[f"target {value!r}"] = f"GET {value} HTTP/1.1\r\nHost: web\r\n\r\n".encode()
    for value in METHODS:
        found[f"method {value!r}"] = f"{value} /=0= HTTP/1.1\r\nHost: web\r\n\r\n".encode()
    for value in VERSIONS:
        found[f"version {value!r}"] = f"GET /=0= {value}\r\nHost: web\r\n\r\n".encode()
    for value in LINES:
        found[f"line {value!r}"] = post(value, BODY)
    for name, chunks in (CHUNKS | MORE_CHUNKS).items():
        found[f"chunks: {name}"] = post("Transfer-Encoding: chunked", chunks)
    for name, start in STARTS.items():
        found[name] = start + found["a sound one"]
    found |= {
        "lines that end in LF": b"GET /=0= HTTP/1.1\nHost: web\n\n",
        "a head that ends in LF LF": b"GET /=0= HTTP/1.1\r\nHost: web\n\n",
        "a head that ends in CR LF LF": b"GET /=0= HTTP/1.1\r\nHost: web\r\n\n",
        "a head that ends in CR CR": b"GET /=0= HTTP/1.1\r\nHost: web\r\r\n\r\n",
        "a request line that ends in CR": b"GET /=0= HTTP/1.1\rHost: web\r\n\r\n",
        "HTTP/0.9": b"GET /=0=\r\n",
        "no host": b"GET /=0= HTTP/1.1\r\n\r\n",
        "GET with a body": b"GET /=0= HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello",
        "HEAD with a body": post("Content-Length: 5", b"hello").replace(b"POST", b"HEAD"),
        "two spaces": b"GET  /=0= HTTP/1.1\r\nHost: web\r\n\r\n",
        "a tab for a space": b"GET\t/=0= HTTP/1.1\r\nHost: web\r\n\r\n",
        "101 headers": b"GET /=0= HTTP/1.1\r\nHost: web\r\n" + b"X: a\r\n" * 100 + b"\r\n",
    }
    return found


STATUS_LINES = (
    "HTTP/1.1 200 OK", "HTTP/1.1 200 ", "HTTP/1.1 200", "HTTP/1.0 200 OK", "HTTP/1.2 200 OK",
    "HTTP/2.0 200 OK", "http/1.1 200 OK", "HTTP/1.1  200 OK", "HTTP/1.1 0200 OK",
    "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 099 OK", "HTTP/1.1 600 OK",
    "HTTP/1.1 999 X", "HTTP/1.1 +20 OK", "HTTP/1.1 2x0 OK", "HTTP/1.1\t200\tOK",
    "HTTP/1.1 200 O\x00K", "200 OK", "HTTP/1.1 200 O\rK", "HTTP/1.1 200 OK\n",
    " HTTP/1.1 200 OK", "\r\nHTTP/1.1 200 OK", "HTTP/1.1 204 OK", "HTTP/1.1 304 OK",
    "HTTP/1.1 205 OK", "HTTP/1.1 101 Go", "HTTP/1.1 100 Go", "HTTP/1.1 102 Go",
    "HTTP/1.1 199 Go", "ICY 200 OK", "HTTP/1.1 200 O\x7fK", "",
)  # fmt: skip
#: Lines that only requests have a use for.
ASKING = (
    "Host", "Expect", "TE", "HTTP2",
)  # fmt: skip


def responses() -> dict[str, bytes]:
    """Answers to a GET; each has something behind it that must answer nobody."""
    found = {"a sound one": answer("Content-Length: 5", b"hello")}
    for value in LENGTHS:
        found[f"Content-Length: {value!r}"] = answer(f"Content-Length: {value}", b"hello")
    for value in CODINGS:
        found[f"Transfer-Encoding: {value!r}"] = answer(f"Transfer-Encoding: {value}", BODY)
        both = f"Content-Length: 15\r\nTransfer-Encoding: {value}"
        found[f"Content-Length and Transfer-Encoding: {value!r}"] = answer(both, BODY)
    for value in LINES:
        if not value.upper().startswith(tuple(word.upper() for word in ASKING)):
            line = value if "Length" in value or "Encoding" in value else f"{value}\r\n{FIVE}"
            found[f"line {value!r}"] = answer(line, b"hello")
    for value in STATUS_LINES:
        found[f"status line {value!r}"] = answer(FIVE, b"hello").replace(OK, value.encode())
    for name, chunks in (CHUNKS | MORE_CHUNKS).items():
        found[f"chunks: {name}"] = answer("Transfer-Encoding: chunked", chunks)
    return found


def answer(line: str, content: bytes) -> bytes:
    """An answer with one more line, or several."""
    return OK + f"\r\n{line}\r\n\r\n".encode() + content


def post(line: str, body: bytes) -> bytes:
    """A request with one more line, or several."""
    return f"POST /=0= HTTP/1.1\r\nHost: web\r\n{line}\r\n\r\n".encode() + body


def numbered(number: int, name: str) -> bytes:
    """A request's bytes for its number, and the sound one behind it."""
    return (requests()[name] + END).replace(b"=0=", b"%d-" % number)
