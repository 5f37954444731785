"""Requests and responses as decisions see them, whatever protocol carries them."""

from __future__ import annotations

from typing import NamedTuple

#: A name in lower case, and its value without white space around it.
Field = tuple[bytes, bytes]


class Request(NamedTuple):
    """A request's head.

    authority: in lower case; path: with its query, or ``*``; fields: in their order,
    without pseudo-headers, Host, and what is for one hop only (RFC 9110 section 7.6.1).
    """

    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    fields: tuple[Field, ...]

    def header(self, name: bytes) -> bytes | None:
        """A header's value, several joined by commas; None when there is none.

        name: in lower case, or a pseudo-header as HTTP/2 has it; ``host`` is one too.
        """
        if name[:1] == b":":
            return pseudo(self, name)
        if name == b"host":
            return self.authority
        values = [value for found, value in self.fields if found == name]
        return b",".join(values) if values else None


class Response(NamedTuple):
    """A response's head; fields: as a request's."""

    status: int
    fields: tuple[Field, ...]


def pseudo(request: Request, name: bytes) -> bytes | None:
    """A request's pseudo-header (RFC 9113 section 8.3.1), or None."""
    match name:
        case b":method":
            return request.method
        case b":scheme":
            return request.scheme
        case b":authority":
            return request.authority
        case b":path":
            return request.path
        case _:
            return None
