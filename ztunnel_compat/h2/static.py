"""The static table (RFC 7541 appendix A)."""

from __future__ import annotations

#: A field: name and value.
Field = tuple[bytes, bytes]

TEXT = """\
:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate
"""


def parse(text: str) -> tuple[Field, ...]:
    """One field a line, name and value apart by the first space."""
    split = (line.encode().partition(b" ") for line in text.splitlines())
    return tuple((name, value) for name, _, value in split)


#: Index 0 is unused, so that an index is a position.
STATIC: tuple[Field, ...] = ((b"", b""), *parse(TEXT))
#: The first index of the dynamic table.
FIRST_DYNAMIC = len(STATIC)
FIELD_INDEX: dict[Field, int] = {field: i for i, field in enumerate(STATIC) if i}
#: The lowest index that has a name.
NAME_INDEX: dict[bytes, int] = {
    field[0]: i for i, field in reversed(list(enumerate(STATIC))) if i
}
