"""Requests and responses, as filters see and change them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tandem.plugins.errors import FilterError
from tandem.plugins.headers import Headers

NO_PATH = re.compile(r"[^\x21\x22\x24-\x7e]")
AUTHORITY = re.compile(r"[0-9A-Za-z.\-_~%!$&'()*+,;=:\[\]]*")
#: Bytes of a body that a filter answers itself, or makes of one chunk.
MOST_BODY = 1 << 20
#: Statuses whose responses have no body.
BODILESS = (204, 304)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as proven by the mesh, never by what the request says.

    identity: the SPIFFE ID (``spiffe://cluster.local/ns/apps/sa/web``), or empty: not
    known; namespace, labels: of its workload.
    """

    identity: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


class Request:
    """A request. authority, path and headers may be changed; all else is to be read.

    method, scheme: as they came; authority: host and maybe port, in lower case; path:
    with its query; caller: who asks; route: the name of its route, or empty; metadata:
    what filters before this one found, by their names (JWT claims:
    ``envoy.filters.http.jwt_authn``); body: all of it where the filter has a body_limit,
    else empty; notes: what this filter tells those after it, JSON-able, which they find
    in metadata under ``tandem.plugin.<namespace>.<name>``; state: anything that the
    filter keeps for itself until the response is over; reroute: set it to have the route
    looked for anew, by the changed request.
    """

    __slots__ = (
        "_authority", "_method", "_path", "_scheme", "body", "caller", "headers", "metadata",
        "notes", "reroute", "route", "state",
    )  # fmt: skip

    def __init__(
        self,
        method: str = "GET",
        path: str = "/",
        *,
        authority: str = "service",
        scheme: str = "http",
        headers: Headers | Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        caller: Caller | None = None,
        route: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._method = method
        self._scheme = scheme
        self._authority = authority
        self._path = path
        self.headers = as_headers(headers)
        self.body = body
        self.caller = caller or Caller()
        self.route = route
        self.metadata: Mapping[str, Any] = metadata or {}
        self.notes: dict[str, Any] = {}
        self.state: dict[str, Any] = {}
        self.reroute = False

    @property
    def method(self) -> str:
        """Such as ``GET``."""
        return self._method

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return self._scheme

    @property
    def authority(self) -> str:
        """The host that is asked, maybe with a port."""
        return self._authority

    @authority.setter
    def authority(self, value: str) -> None:
        if not isinstance(value, str) or AUTHORITY.fullmatch(value) is None:
            raise FilterError(
                f"request.authority can't be {value!r:.80}: give host or host:port"
            )
        self._authority = value.lower()

    @property
    def path(self) -> str:
        """The path with its query."""
        return self._path

    @path.setter
    def path(self, value: str) -> None:
        if not isinstance(value, str) or value[:1] != "/" or NO_PATH.search(value):
            raise FilterError(
                f"request.path can't be {value!r:.80}: it begins with / and has neither "
                "white space, # nor characters beyond ASCII (quote them)"
            )
        self._path = value

    def __repr__(self) -> str:
        return f"Request({self.method!r}, {self.path!r}, authority={self.authority!r})"


class Response:
    """A response. From on_request: what the caller is answered instead of the service;
    in on_response: the service's, of which status and headers may be changed.

    body: of an answer; a str is sent in UTF-8. In on_response it is empty.
    """

    __slots__ = ("_status", "body", "headers")

    def __init__(
        self,
        status: int = 200,
        headers: Headers | Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes | str = b"",
    ) -> None:
        self.status = status
        self.headers = as_headers(headers)
        if not isinstance(body, bytes | str):
            raise FilterError(f"a response's body is bytes or str, not {type(body).__name__}")
        self.body = body.encode() if isinstance(body, str) else body
        if len(self.body) > MOST_BODY:
            raise FilterError(f"a response's body has at most {MOST_BODY} bytes")
        if self.body and self.status in BODILESS:
            raise FilterError(f"a response of status {self.status} has no body")

    @property
    def status(self) -> int:
        """From 200 to 599."""
        return self._status

    @status.setter
    def status(self, value: int) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not 200 <= value <= 599:
            raise FilterError(f"a response's status can't be {value!r:.80}: 200 to 599")
        self._status = int(value)

    def __repr__(self) -> str:
        return f"Response({self.status}, {self.headers.fields!r})"


def as_headers(given: Headers | Mapping[str, str] | Iterable[tuple[str, str]]) -> Headers:
    """Headers from what a constructor takes."""
    if isinstance(given, Headers):
        return given
    return Headers(given.items() if isinstance(given, Mapping) else given)
