"""What a route makes of a request's path and authority."""

from __future__ import annotations

from dataclasses import dataclass

from waypoint.messages import Request
from waypoint.routing.edits import replaced
from waypoint.routing.text import Substitution

ORIGINAL_PATH = b"x-envoy-original-path"
ORIGINAL_HOST = b"x-envoy-original-host"
FORWARDED_HOST = b"x-forwarded-host"


@dataclass(frozen=True, slots=True)
class PrefixRewrite:
    """What a route's match took of a path is replaced.

    matched: how many bytes that is; None: the path up to its query.
    """

    by: bytes
    matched: int | None

    def apply(self, path: bytes) -> bytes:
        """The path's replacement; path: without its query."""
        return self.by + (b"" if self.matched is None else path[self.matched :])


@dataclass(frozen=True, slots=True)
class PatternRewrite:
    """Every match of an expression in a path is replaced."""

    substitution: Substitution

    def apply(self, path: bytes) -> bytes:
        """The path's replacement; path: without its query."""
        return self.substitution.apply(path)


PathRewrite = PrefixRewrite | PatternRewrite


@dataclass(frozen=True, slots=True)
class HostLiteral:
    """Always the same authority."""

    authority: bytes

    def apply(self, request: Request) -> bytes | None:
        """The new authority."""
        return self.authority


@dataclass(frozen=True, slots=True)
class HostFromHeader:
    """A header's first value, where there is one."""

    name: bytes

    def apply(self, request: Request) -> bytes | None:
        """The new authority; None: it stays."""
        values = (value for name, value in request.fields if name == self.name)
        return next(values, None) or None


@dataclass(frozen=True, slots=True)
class HostFromPath:
    """The path without its query, an expression's matches in it replaced."""

    substitution: Substitution

    def apply(self, request: Request) -> bytes | None:
        """The new authority."""
        return self.substitution.apply(request.path.partition(b"?")[0])


HostRewrite = HostLiteral | HostFromHeader | HostFromPath


def with_path(request: Request, rewrite: PathRewrite) -> Request:
    """The request with a new path, its query kept, and the old one in a header."""
    path, mark, query = request.path.partition(b"?")
    new = rewrite.apply(path) + mark + query
    fields = replaced(request.fields, ((ORIGINAL_PATH, request.path),))
    return request._replace(path=new, fields=fields)


def with_authority(request: Request, authority: bytes, *, forwarded: bool = False) -> Request:
    """The request with a new authority and the old one in a header.

    forwarded: the old one is also the last in X-Forwarded-Host.
    """
    old = request.authority
    fields = replaced(request.fields, ((ORIGINAL_HOST, old),))
    if forwarded:
        fields = (*fields, (FORWARDED_HOST, old))
    return request._replace(authority=authority, fields=fields)
